"""An Airflow operator for lake's commands. For Airflow 2.10 and 3.

It knows lake's exit codes: what is worth a retry is retried, what needs a
person is not. The result, one line of JSON, is the task's XCom.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Sequence

from airflow.exceptions import AirflowException, AirflowFailException, AirflowSkipException

try:
    from airflow.sdk import BaseOperator
except ImportError:  # Airflow 2
    from airflow.models import BaseOperator

# `lake help exit-codes`. Any other one, a signal's too, is worth a retry.
NO_RETRY = {
    1: "a check found a difference",
    2: "usage",
    7: "failed and needs a person",
    78: "configuration",
}
RETRY = {5: "failed but worth a retry", 75: "another run holds the job"}
SKIPPED = 99  # with --skip-if-empty


class LakeOperator(BaseOperator):
    """Runs one command of lake.

    :param arguments: the command and its flags, templated: ["load", "nobroker.yaml", "--from", "{{ data_interval_start | ts }}"]
    :param lake: the binary
    :param env: added to the worker's environment, templated; secrets belong here, not in the arguments
    :param stop_within: seconds from SIGTERM, when the task is cleared or times out, to SIGKILL
    """

    template_fields: Sequence[str] = ("arguments", "env")

    def __init__(
        self,
        *,
        arguments: Sequence[str],
        lake: str = "lake",
        env: dict[str, str] | None = None,
        stop_within: float = 10,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        self.arguments = list(arguments)
        self.lake = lake
        self.env = env
        self.stop_within = stop_within
        self._process: subprocess.Popen | None = None

    def execute(self, context):
        command = [self.lake, *self.arguments, "--output", "json"]
        self.log.info("%s", " ".join(command))
        self._process = subprocess.Popen(
            command,
            env={**os.environ, **(self.env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        last = ""
        with self._process as process:
            relay = threading.Thread(target=self._relay, args=(process.stderr,))
            relay.start()
            for line in process.stdout:
                if line := line.strip():
                    last = line
                    self.log.info("%s", line)
            relay.join()
            code = process.wait()
        if code == 0:
            return json.loads(last) if last else None
        if code == SKIPPED:
            raise AirflowSkipException("there was nothing to do")
        if code in NO_RETRY:
            raise AirflowFailException(f"lake ended with {code}: {NO_RETRY[code]}; its log is above")
        raise AirflowException(f"lake ended with {code}: {RETRY.get(code, 'unexpectedly')}; its log is above")

    def _relay(self, lines) -> None:
        for line in lines:
            self.log.info("%s", line.rstrip())

    def on_kill(self) -> None:
        """SIGTERM lets lake end after a last commit."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(self.stop_within)
        except subprocess.TimeoutExpired:
            self._process.kill()
