# On the login node, once a session (or in ~/.bashrc): source /path/to/fireworker_configs/login/env.sh
source ~/nepal/bin/activate
export FW_CONFIG_FILE=/path/to/fireworker_configs/login/FW_config.yaml
export JOBFLOW_CONFIG_FILE=/path/to/fireworker_configs/login/jobflow.yaml
export NEPAL_LAUNCHPAD_FILE=/path/to/fireworker_configs/login/my_launchpad.yaml
