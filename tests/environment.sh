# Sourced by tests/run, examples/demo and .ci/run in the project's folder: makes the environment "$venv".
venv=${HAYPILE_VENV:-.venv}
groups=${HAYPILE_GROUPS:-dev}
stamp="$venv/.haypile-$groups"
if [ ! -e "$stamp" ] || [ pyproject.toml -nt "$stamp" ]; then
  [ -x "$venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$venv"
  # pip learned of dependency groups in 25.1.
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
  if [ "$groups" = none ]; then
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable .
  else
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable . --group "$groups"
  fi
  touch "$stamp"
fi
# Every program that a test starts would compile haypile and pika anew where bytecode is not kept.
unset PYTHONDONTWRITEBYTECODE
PYTHONPYCACHEPREFIX=$(cd "$venv" && pwd)/pycache
export PYTHONPYCACHEPREFIX
