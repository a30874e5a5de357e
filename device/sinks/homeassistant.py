"""What Home Assistant must be told to show a board: one retained message, "device discovery".

The schema is Home Assistant's (components/mqtt/schemas.py, 2024.11 and later); the keys are described at
https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery and on the pages of sensor.mqtt, binary_sensor.mqtt and
event.mqtt.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from device.prediction import Event
from device.sinks.topics import Topics, slug
from device.status import Status

_MOST_NAME = 80

Place = tuple[str, str]
"""A camera's name and a region's, which is empty for the whole picture."""


def discovery_topic(discovery_prefix: str, topics: Topics) -> str:
    """Where Home Assistant looks for it."""
    return f"{discovery_prefix}/device/{_identifier(topics)}/config"


def discovery_payload(topics: Topics, status: Status, places: Sequence[Place]) -> dict[str, Any]:
    """The message: a device with its entities. Entities are told apart by the prefix, not by the board, so that a
    board can be replaced.

    Args:
        topics: where states, events and the status are published.
        status: cameras, model and sensors that there are.
        places: what has been classified so far.
    """
    own = version("edgegraft")
    model = status.model
    return {
        "device": {
            "identifiers": [_identifier(topics)],
            "name": _shown(topics.prefix.rpartition("/")[2]),
            "manufacturer": "edgegraft",
            "model": _shown(model.bundle) or "edgegraft",
            "sw_version": f"edgegraft {own}, model {_shown(model.version)}",
        },
        "origin": {"name": "edgegraft", "sw_version": own},
        "availability_topic": topics.availability,
        "qos": 1,
        "components": _components(topics, status, places),
    }


def _components(topics: Topics, status: Status, places: Sequence[Place]) -> dict[str, dict[str, Any]]:
    components = {"problem": _problem(topics)}
    for name, known in (("cpu", status.health.cpu_celsius), ("gpu", status.health.gpu_celsius)):
        if known is not None:
            components[f"{name}_temperature"] = _temperature(topics, name)
    for number, camera in enumerate(status.cameras):
        label = camera.name if len(status.cameras) > 1 else ""
        components[f"{slug(camera.name)}_frame_rate"] = _frame_rate(topics, number, label)
    for camera_name, region in places:
        alone = len(status.cameras) == 1
        label = region if alone else f"{camera_name} {region}"
        key = slug(camera_name) + (f"_{slug(region)}" if region else "")
        components[f"{key}_answer"] = _answer(topics, (camera_name, region), status.model.classes, label)
        components[f"{key}_probability"] = _probability(topics, (camera_name, region), label)
        components[f"{key}_event"] = _event(topics, (camera_name, region), label)
    identifier = _identifier(topics)
    return {key: {**component, "unique_id": f"{identifier}_{key}"} for key, component in components.items()}


def _problem(topics: Topics) -> dict[str, Any]:
    return {
        "platform": "binary_sensor",
        "name": "Problem",
        "device_class": "problem",
        "entity_category": "diagnostic",
        "state_topic": topics.status,
        "value_template": "{{ 'ON' if value_json.state == 'degraded' else 'OFF' }}",
        "json_attributes_topic": topics.status,
        "json_attributes_template": "{{ {'reasons': value_json.reasons} | tojson }}",
    }


def _temperature(topics: Topics, name: str) -> dict[str, Any]:
    return {
        "platform": "sensor",
        "name": f"{name.upper()} temperature",
        "device_class": "temperature",
        "unit_of_measurement": "°C",
        "state_class": "measurement",
        "entity_category": "diagnostic",
        "state_topic": topics.status,
        "value_template": f"{{{{ value_json.health.{name}_celsius }}}}",
    }


def _frame_rate(topics: Topics, number: int, label: str) -> dict[str, Any]:
    # By its place in the list: a name could hold quotes that end the template's string.
    rate = f"value_json.cameras[{number}].frames_per_second"
    return {
        "platform": "sensor",
        "name": _named(label, "Frame rate"),
        "unit_of_measurement": "fps",
        "state_class": "measurement",
        "entity_category": "diagnostic",
        "icon": "mdi:speedometer",
        "state_topic": topics.status,
        "value_template": f"{{{{ {rate} | round(1) }}}}",
    }


def _answer(topics: Topics, place: Place, classes: Sequence[str], label: str) -> dict[str, Any]:
    topic = topics.of(*place, "state")
    return {
        "platform": "sensor",
        "name": _named(label, "Answer"),
        "device_class": "enum",
        "options": list(classes),
        "state_topic": topic,
        # Nothing settled is null, which becomes Home Assistant's "unknown".
        "value_template": "{{ value_json.answer }}",
        "json_attributes_topic": topic,
    }


def _probability(topics: Topics, place: Place, label: str) -> dict[str, Any]:
    return {
        "platform": "sensor",
        "name": _named(label, "Probability"),
        "unit_of_measurement": "%",
        "state_class": "measurement",
        "icon": "mdi:percent",
        "state_topic": topics.of(*place, "state"),
        "value_template": "{{ (value_json.probability * 100) | round(1) }}",
    }


def _event(topics: Topics, place: Place, label: str) -> dict[str, Any]:
    return {
        "platform": "event",
        "name": _named(label, "Change"),
        "event_types": [event.value for event in Event],
        "state_topic": topics.of(*place, "event"),
    }


def _identifier(topics: Topics) -> str:
    return f"edgegraft_{slug(topics.prefix)}"


def _named(label: str, what: str) -> str:
    return f"{shown} {what.lower()}" if (shown := _shown(label)) else what


def _shown(name: str) -> str:
    return " ".join("".join(char if char.isprintable() else " " for char in name).split())[:_MOST_NAME]
