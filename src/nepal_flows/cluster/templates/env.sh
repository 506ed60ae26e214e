# On the login node, once a session (or in ~/.bashrc): source {{ directory }}/login/env.sh
{% if activate %}
{{ activate }}
{% endif %}
export FW_CONFIG_FILE={{ directory }}/login/FW_config.yaml
export JOBFLOW_CONFIG_FILE={{ directory }}/login/jobflow.yaml
export NEPAL_LAUNCHPAD_FILE={{ directory }}/login/my_launchpad.yaml
