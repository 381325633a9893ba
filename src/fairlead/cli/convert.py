"""`fairlead convert`: what other APIs say, as the objects that Fairlead's users write."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fairlead.api.resources import (
    BACKENDTRAFFICPOLICIES,
    CLIENTTRAFFICPOLICIES,
    GATEWAYCLASSES,
    GATEWAYS,
    HTTPROUTES,
    LISTENERSETS,
    REFERENCEGRANTS,
    ROUTEEXTENSIONS,
    SECURITYPOLICIES,
    TLSROUTES,
    TRAFFICPOLICIES,
)

if TYPE_CHECKING:
    from fairlead.base.diagnostics import Diagnostic
    from fairlead.model.gateway.conversion import Conversion, Options
    from fairlead.sources.files import Manifest

Json = dict[str, Any]
_KINDS = (
    GATEWAYCLASSES,
    GATEWAYS,
    LISTENERSETS,
    REFERENCEGRANTS,
    ROUTEEXTENSIONS,
    HTTPROUTES,
    TLSROUTES,
    BACKENDTRAFFICPOLICIES,
    CLIENTTRAFFICPOLICIES,
    SECURITYPOLICIES,
    TRAFFICPOLICIES,
)
"""All kinds that are printed."""


@click.group()
def convert() -> None:
    """Print objects of one API as those of another."""


@convert.command()
@click.option(
    "-f",
    "--filename",
    "paths",
    multiple=True,
    required=True,
    type=click.Path(path_type=Path),
    help="Manifests: a file, a folder, or - for standard input; repeatable.",
)
@click.option(
    "-o", "--output", type=click.Choice(["yaml", "json"]), default="yaml", show_default=True, help="Form of the output."
)
@click.option("--gateway", metavar="NAMESPACE/NAME", help="Of the Gateway; by default named like its IngressClass.")
@click.option(
    "--gateway-class", default="fairlead", show_default=True, metavar="NAME", help="Name of the GatewayClass."
)
def ingress(paths: tuple[Path, ...], output: str, gateway: str | None, gateway_class: str) -> int:
    """Print the Gateways and HTTPRoutes that serve what Ingresses do.

    Annotations of ingress-nginx, Traefik and HAProxy become filters, rules and policies. The output goes to `kubectl apply -f -`; what was
    assumed, or has no equivalent, goes to standard error. Give it the Ingresses' Services, too, where ports have names, and IngressClasses.

    Exits with 1 when something has no equivalent: what it concerns then answers 500, or needs what is said.
    """
    import json

    from fairlead.base.errors import UserError
    from fairlead.model.gateway.conversion import Options
    from fairlead.sources import files

    manifests, diagnostics = files.load(paths)
    options = Options(gateway=_key(gateway) if gateway is not None else None, gateway_class=gateway_class)
    try:
        found, sources, wrong = _convert(manifests, options)
    except ValueError as error:
        raise UserError(str(error), fix="convert one class at a time, or leave --gateway out") from error
    problems = [*diagnostics, *wrong, *found.problems, *_invalid(found.objects)]
    _say("note", found.notes, sources)
    _say("warning", problems, sources)
    if output == "json":
        everything = {"apiVersion": "v1", "kind": "List", "items": list(found.objects)}
        click.echo(json.dumps(everything, indent=2))
    elif found.objects:
        click.echo(_yaml(found.objects), nl=False)
    if not found.objects and not problems:
        raise UserError("no Ingress in the input", fix="name manifests with kind: Ingress")
    return 1 if problems else 0


def _key(text: str) -> tuple[str, str]:
    namespace, slash, name = text.partition("/")
    if not (namespace and slash and name) or "/" in name:
        raise click.BadParameter("must be NAMESPACE/NAME", param_hint="--gateway")
    return namespace, name


def _convert(manifests: list[Manifest], options: Options) -> tuple[Conversion, dict[str, str], list[Diagnostic]]:
    """Return the conversion, where each object was written, and which could not be read."""
    from fairlead.api.gateway import ReferenceGrant
    from fairlead.api.ingress import Ingress, IngressClass
    from fairlead.api.middleware import Middleware
    from fairlead.api.service import Service
    from fairlead.api.trust_material import TrustMaterial
    from fairlead.model.gateway.conversion import convert as converted
    from fairlead.model.gateway.ingress_references import Referred
    from fairlead.sources.scenario import scenario

    of_kind = {
        "Ingress": Ingress,
        "IngressClass": IngressClass,
        "Service": Service,
        "ConfigMap": TrustMaterial,
        "ReferenceGrant": ReferenceGrant,
        "Middleware": Middleware,
    }
    world = scenario([each for each in manifests if each.object["kind"] in of_kind], nodes=(), service_cidrs=())
    known: dict[str, dict[tuple[str, str], Any]] = {event.kind: dict(event.objects) for event in world.events}
    wrong = [*world.diagnostics]
    typed: dict[str, dict[tuple[str, str], Any]] = {}
    for kind, of in of_kind.items():
        typed[kind] = {key: each for key, each in known[kind].items() if isinstance(each, of)}
        wrong += [each for each in known[kind].values() if not isinstance(each, of)]
    referred = Referred(typed["ConfigMap"], typed["ReferenceGrant"], typed["Middleware"])
    made = converted(typed["IngressClass"], typed["Ingress"], typed["Service"], options, referred)
    return made, dict(world.sources), wrong


def _invalid(objects: tuple[Json, ...]) -> list[Diagnostic]:
    """Return what the definitions of the kinds say against the objects: a cluster would refuse them."""
    import copy

    import yaml

    from fairlead.api.crds import FOLDER
    from fairlead.api.decode import reference
    from fairlead.apiserver.schema.resource import ResourceSchema
    from fairlead.base.diagnostics import Diagnostic

    schemas: dict[str, ResourceSchema] = {}
    for resource in _KINDS:
        if any(each["kind"] == resource.kind for each in objects):
            spec = yaml.load((FOLDER / f"{resource.plural}.yaml").read_text(), yaml.CSafeLoader)["spec"]
            schema = next(each for each in spec["versions"] if each["storage"])["schema"]["openAPIV3Schema"]
            schemas[resource.kind] = ResourceSchema(schema)
    found = []
    for each in objects:
        metadata = each["metadata"]
        name = reference(each["kind"], metadata.get("namespace", ""), metadata["name"])
        schema = schemas[each["kind"]]
        words = [f"{field}: is no field" for field in schema.unknown_fields(each)]
        whole = copy.deepcopy(each)
        schema.default(whole)
        words += [str(error) for error in schema.check(whole)]
        found += [Diagnostic(object=name, message=f"is not valid: {word}") for word in words]
    return found


def _yaml(objects: tuple[Json, ...]) -> str:
    import yaml

    class Plain(yaml.CSafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

    return str(yaml.dump_all(objects, Dumper=Plain, sort_keys=False, width=120))


def _say(what: str, diagnostics: Any, sources: dict[str, str]) -> None:
    from fairlead.sources.scenario import located

    for each in sorted(set(located(diagnostics, sources))):
        click.echo(f"{what}: {each}", err=True)
    sys.stderr.flush()
