"""Run a campaign under FireWorks, its queue in a file instead of a MongoDB server.

usage: MONGOMOCK_SERVERSTORE_FILE=FILE python fireworks_driver.py CAMPAIGN STORE
"""

import json
import os
import sys
from pathlib import Path


def main() -> None:
    """Submit the flow, launch until nothing is left, and print what became of it."""
    campaign, store = sys.argv[1], Path(sys.argv[2])
    Path(os.environ["MONGOMOCK_SERVERSTORE_FILE"]).write_text("{}")
    from fireworks import FWorker, LaunchPad
    from fireworks.core.rocket_launcher import rapidfire
    from jobflow.managers.fireworks import flow_to_workflow

    from nepal_flows.flows import campaign_flow
    from nepal_flows.records import Records, embedded_job_store
    from nepal_flows.schemas import CampaignDoc

    job_store = embedded_job_store(store)
    flow = campaign_flow(campaign, job_store)
    launchpad = LaunchPad()
    launchpad.reset("", require_password=False)
    launchpad.add_wf(flow_to_workflow(flow, store=job_store))
    os.chdir(store)
    rapidfire(launchpad, FWorker(), sleep_time=1)
    states = [launchpad.get_fw_by_id(number).state for number in launchpad.get_fw_ids()]
    (document,) = Records(job_store).query(CampaignDoc)
    print(json.dumps({"states": states, "end_state": document.end_state}))


if __name__ == "__main__":
    main()
