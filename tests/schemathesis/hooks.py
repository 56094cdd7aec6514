"""What no schema can say of FTGO: which records there are, and how services write what JSON leaves open.

Only right requests are touched, before they are sent: wrong ones go out as they were made. So a right request is one that a
service has no reason to refuse, and that it is accepted is worth checking.
"""

import datetime
import uuid

import schemathesis
from hypothesis import strategies

schemathesis.openapi.format(
    "date-time-local",
    strategies.datetimes(min_value=datetime.datetime(2020, 1, 1), max_value=datetime.datetime(2099, 12, 31)).map(
        lambda time: time.strftime("%Y-%m-%dT%H:%M:%S")
    ),
)

# Ids in paths: each second request is about a record that there is.
KNOWN = {
    "consumerId": [1511300065921],
    "restaurantId": [1, 2, 3],
    "orderId": [99],  # another one has other lines to revise
    "ticketId": [99, 100, 101, 102],
    "deliveryId": [99, 100, 101, 102],
    "courierId": [1],
}
# Other consumers' orders, unknown restaurants and dishes, and times that are over are refused for good reason.
GIVEN = {
    "consumerId": 1511300065921,
    "restaurantId": 1,
    "menuItemId": "1",
    "deliveryTime": "2099-01-01T19:00:00",
    "readyBy": "2099-01-01T19:00:00",
}

turn = 0


def settled(value):
    """With what is given, and whole numbers in digits alone: `5.0` is whole by JSON Schema, and to no service of FTGO."""
    if isinstance(value, dict):
        return {name: GIVEN.get(name, settled(member)) for name, member in value.items()}
    if isinstance(value, list):
        return [settled(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


@schemathesis.hook
def before_call(context, case, kwargs):
    global turn
    if case.path.endswith("/menu") and str((case.path_parameters or {}).get("restaurantId")).strip() == "1":
        case.path_parameters["restaurantId"] = 2  # orders are for dishes of the first
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    if isinstance(case.body, (dict, list)):
        case.body = settled(case.body)
    if case.query:
        # A key of a page is opaque: only one that a service has given is good.
        case.query.pop("startKey", None)
        if "consumerId" in case.query:
            case.query["consumerId"] = GIVEN["consumerId"]
    turn += 1
    if "Idempotency-Key" in (case.headers or {}):
        # The same key with another body is a 422, and rightly so.
        case.headers["Idempotency-Key"] = str(uuid.uuid4())
    for name in list(case.path_parameters or {}):
        known = [2, 3] if case.path.endswith("/menu") else KNOWN.get(name)
        if known and turn % 2:
            case.path_parameters[name] = known[turn // 2 % len(known)]
