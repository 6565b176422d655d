"""Notifications for tests."""

import dataclasses
from typing import Any

from rollcast_notifier.notification import Notification, Receiver, notification_id

__all__ = ["a_notification"]

_CREATED = 1_661_000_000_000


def a_notification(to: str = "hook:sales", **changed: Any) -> Notification:
    receiver = Receiver.parse(to)
    prediction_id = changed.get("prediction_id", "local/default/wine-price:r-1")
    whole = Notification(
        id=notification_id(prediction_id, "dear-wines", receiver),
        prediction_id=prediction_id,
        request_id="r-1",
        key="7",
        model="wine-price",
        version="2022-08-19",
        prediction=b"877.5",
        subscription="dear-wines",
        receiver=receiver,
        text="Vega Sicilia: about 877.5",
        created=_CREATED,
    )
    return dataclasses.replace(whole, **changed)
