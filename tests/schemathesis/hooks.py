"""What schemathesis cannot know of FTGO: how a time without offset is written, and who and what there is.

Half of all right requests name a record that exists, so that not all of them end in a 404. Wrong ones stay as they are.
"""

import schemathesis
from hypothesis import strategies

# A reference here is only one that people would make: long years are another test's.
schemathesis.openapi.format(
    "date-time-local",
    strategies.datetimes(
        min_value=__import__("datetime").datetime(2020, 1, 1), max_value=__import__("datetime").datetime(2099, 12, 31)
    ).map(lambda time: time.strftime("%Y-%m-%dT%H:%M:%S")),
)

KNOWN = {
    "consumerId": [1511300065921],
    "restaurantId": [1, 2, 3],
    "orderId": [99, 100, 105],
    "ticketId": [99, 100, 101, 102],
    "deliveryId": [99, 100, 101, 102],
    "courierId": [1, 2, 3],
}


def known(place, values):
    """The same, with some ids in the place of those that were made up."""
    if not values:
        return strategies.just(values)
    choices = {
        name: strategies.one_of(strategies.just(value), strategies.sampled_from(KNOWN[name]))
        if name in KNOWN and isinstance(value, int)
        else strategies.just(value)
        for name, value in values.items()
    }
    return strategies.fixed_dictionaries(choices)


@schemathesis.hook
def flatmap_path_parameters(context, path_parameters):
    return known("path", path_parameters)


@schemathesis.hook
def flatmap_query(context, query):
    return known("query", query)


@schemathesis.hook
def flatmap_body(context, body):
    return known("body", body) if isinstance(body, dict) else strategies.just(body)
