"""From a request to the identity in whose name it is carried out.

A client certificate says it, or a bearer token; without either the request is anonymous, and authorization decides what is left. Whoever
may do so can act for somebody else. Source: k8s.io/apiserver's authentication and impersonation filters.
"""

from __future__ import annotations

from urllib.parse import unquote

from aiohttp import web
from multidict import CIMultiDictProxy

from fairlead.apiserver.authn.tokens import InvalidToken, Tokens
from fairlead.apiserver.authz.authorizer import Authorizer
from fairlead.apiserver.authz.question import Question
from fairlead.apiserver.errors import failure, internal, unauthorized
from fairlead.apiserver.identity import (
    ANONYMOUS,
    AUTHENTICATED,
    UNAUTHENTICATED,
    Identity,
    account_groups,
    account_of,
)

_USER, _GROUP, _UID, _EXTRA = "Impersonate-User", "Impersonate-Group", "Impersonate-Uid", "impersonate-extra-"
_AUTHENTICATION = "authentication.k8s.io"


class Authenticator:
    """Believes certificates that the connection has verified, and tokens."""

    def __init__(self, tokens: Tokens, authorizer: Authorizer) -> None:
        self._tokens = tokens
        self._authorizer = authorizer

    def identity(self, request: web.BaseRequest, certified: Identity) -> Identity:
        """Return who asks; `certified` is whom the client's certificate names. Raises 401 and, for impersonation, 403."""
        headers = request.headers
        identity = certified
        if certified is ANONYMOUS and "Authorization" in headers:
            identity = self._bearer(headers["Authorization"])
        if any(key.lower().startswith("impersonate-") for key in headers):
            return self._impersonated(identity, headers)
        return identity

    def _bearer(self, header: str) -> Identity:
        scheme, _, token = header.strip().partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            return ANONYMOUS
        try:
            return self._tokens.verify(token).identity
        except InvalidToken:
            raise unauthorized() from None

    def _impersonated(self, asker: Identity, headers: CIMultiDictProxy[str]) -> Identity:
        user, uid = headers.get(_USER, ""), headers.get(_UID, "")
        groups = tuple(headers.getall(_GROUP, ()))
        extra: dict[str, list[str]] = {}
        for key, value in headers.items():
            if key.lower().startswith(_EXTRA):
                extra.setdefault(unquote(key[len(_EXTRA) :].lower()), []).append(value)
        if not user:
            if not (groups or uid or extra):
                return asker
            raise internal("an impersonated group, uid or extra needs an impersonated user")
        account = account_of(user)
        questions = [
            Question("impersonate", "", "serviceaccounts", "", *account)
            if account
            else Question("impersonate", "", "users", name=user)
        ]
        questions += [Question("impersonate", "", "groups", name=group) for group in groups]
        questions += [
            Question("impersonate", _AUTHENTICATION, "userextras", key, name=value)
            for key, values in extra.items()
            for value in values
        ]
        if uid:
            questions.append(Question("impersonate", _AUTHENTICATION, "uids", name=uid))
        for question in questions:
            self._authorizer.require(asker, question)
        if account and not groups:
            groups = account_groups(account[0])
        usual = UNAUTHENTICATED if user == ANONYMOUS.user else AUTHENTICATED
        if usual not in groups:
            groups = (*groups, usual)
        if any(not value for value in (*groups, *extra)):
            raise failure(400, "BadRequest", "an impersonated group or extra has no name")
        return Identity(user, groups, uid, tuple((key, tuple(values)) for key, values in sorted(extra.items())))
