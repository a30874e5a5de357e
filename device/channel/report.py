"""What a board tells of its updates, by MQTT or web hook: when it changes, and again until it has arrived."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from device.errors import SinkError

REPORT_SCHEMA = 1
_TIMEOUT_S = 20.0


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The state after a poll.

    Attributes:
        schema: of this.
        board: its id, see ``device.channel.board_id``.
        unit: of the service.
        name, version: of the release at work; empty where there is none.
        result: ``current`` or ``refused``.
        exit_code, reason: of a refusal.
    """

    schema: int = REPORT_SCHEMA
    board: str
    unit: str
    name: str
    version: str
    result: str
    exit_code: int = 0
    reason: str = ""


def deliver(report: Report, uri: str, folder: Path) -> bool:
    """Send a report, unless the last one that arrived said the same. False where it was not needed.

    Args:
        uri: ``mqtt(s)://HOST/TOPIC``: retained under ``TOPIC/BOARD/update``; or ``https://HOST/PATH``: a POST. The
            options are those of the sinks.
        folder: where the last one that arrived is remembered.

    Raises:
        SinkError: it did not arrive; the next poll tries again.
    """
    body = msgspec.json.encode(report)
    mark, known = folder / "reported", hashlib.sha256(uri.encode() + body).hexdigest()
    if mark.is_file() and mark.read_text(encoding="ascii") == known:
        return False
    if uri.startswith(("mqtt:", "mqtts:")):
        _publish(uri, report.board, body)
    elif uri.startswith(("http:", "https:")):
        _post(uri, body)
    else:
        raise SinkError(f"--report: {uri.partition(':')[0]}: is not understood; expected mqtt(s):// or https://")
    mark.write_text(known, encoding="ascii")
    return True


def _publish(uri: str, board: str, body: bytes) -> None:
    from device.sinks.mqtt import read_mqtt  # first: it says what to install where paho is missing

    from device.sinks.broker import BrokerLink  # isort: skip

    broker, config = read_mqtt(uri)
    topic = f"{config.topics.prefix}/{board}/update"
    link = BrokerLink(broker, topic, announce=False)
    try:
        if not link.deliver(topic, body, _TIMEOUT_S):
            raise SinkError(f"{link.trouble(0.0) or broker.host.name}; the report is sent after the next poll")
    finally:
        link.close()


def _post(uri: str, body: bytes) -> None:
    from device.sinks.webhook import open_webhook

    hook = open_webhook(uri)
    try:
        hook.deliver(body)
    finally:
        hook.close()
