"""Admission that users define: webhooks and ValidatingAdmissionPolicies."""
