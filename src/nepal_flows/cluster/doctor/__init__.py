"""What is wrong with a site and its queue, and what to do: one module a kind of trouble."""

from nepal_flows.cluster.doctor.campaigns import campaign_findings
from nepal_flows.cluster.doctor.findings import Finding, fixed
from nepal_flows.cluster.doctor.queue import queue_findings
from nepal_flows.cluster.doctor.site import site_findings
from nepal_flows.cluster.doctor.store import store_findings

__all__ = [
    "Finding",
    "campaign_findings",
    "fixed",
    "queue_findings",
    "site_findings",
    "store_findings",
]
