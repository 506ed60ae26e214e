"""Training: the labels so far become one model."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from jobflow import job

from nepal_flows.campaign.nep_input import nep_input_of
from nepal_flows.core.nep.model import NepModel
from nepal_flows.core.nep.training import TrainingSettings, train_model
from nepal_flows.engines.native_training import TRAINER_VERSION
from nepal_flows.errors import TrainingError
from nepal_flows.io.nep_in import format_nep_in
from nepal_flows.io.nep_txt import format_nep_txt, model_sha256, read_nep_txt
from nepal_flows.jobs.dataset import Dataset, campaign_dataset, labelled_frames
from nepal_flows.jobs.errors import errors_by_condition, model_errors_of
from nepal_flows.jobs.progress import report_progress
from nepal_flows.jobs.stage import STAGE, StageMaker
from nepal_flows.jobs.timing import Stopwatch
from nepal_flows.records import Records, derived_seed, model_key
from nepal_flows.schemas import TrainingDoc
