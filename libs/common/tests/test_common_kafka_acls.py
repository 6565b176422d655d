"""The table of rights: names are this installation's, and nothing is given twice."""

import pytest

from rollcast_common.errors import ConfigError
from rollcast_common.identity import ModelIdentity
from rollcast_common.kafka import ABOUT_ROLES, Operation, Pattern, Resource, Right, Role, Scope, TopicNames, rights

_NAMES = TopicNames(prefix="shop-", requests="questions")


def of(role: Role, resource: Resource, scope: Scope) -> list[tuple[str, Pattern]]:
    return [(right.name, right.pattern) for right in rights(role, scope) if right.resource is resource]


def covers(right: Right, name: str) -> bool:
    return name.startswith(right.name) if right.pattern is Pattern.PREFIXED else name == right.name


@pytest.mark.parametrize("role", list(Role))
def test_topics_are_named_as_they_are_here_and_nothing_else(role: Role) -> None:
    scope = Scope(_NAMES)
    for name, pattern in of(role, Resource.TOPIC, scope):
        assert name in _NAMES.all_full()
        assert pattern is Pattern.LITERAL
    assert ("shop-questions", Pattern.LITERAL) in of(Role.PREDICTOR, Resource.TOPIC, scope)


@pytest.mark.parametrize("role", list(Role))
def test_no_right_stands_there_twice_or_without_need(role: Role) -> None:
    given = rights(role, Scope())
    assert len({(right.resource, right.name) for right in given}) == len(given)
    for right in given:
        assert len(set(right.operations)) == len(right.operations) > 0
        implied = {Operation.READ, Operation.WRITE} & set(right.operations)
        assert not (implied and Operation.DESCRIBE in right.operations)
        assert right.why


def test_every_role_is_explained() -> None:
    assert set(ABOUT_ROLES) == set(Role)


def test_every_topic_can_be_created_by_the_admin_and_by_nobody_else() -> None:
    may = {
        role: {right.name for right in rights(role, Scope(_NAMES)) if Operation.CREATE in right.operations}
        for role in Role
    }
    assert may.pop(Role.ADMIN) == set(_NAMES.all_full())
    assert set().union(*may.values()) == set()


@pytest.mark.parametrize(
    ("namespace", "model", "group", "transactional_id"),
    [
        (None, None, ("rollcast.prod.", Pattern.PREFIXED), "rollcast.prod."),
        ("shop", None, ("rollcast.prod.shop.", Pattern.PREFIXED), "rollcast.prod.shop."),
        ("shop", "wine", ("rollcast.prod.shop.wine", Pattern.LITERAL), "rollcast.prod.shop.wine-"),
    ],
)
def test_a_predictor_gets_what_its_slots_are_called(
    namespace: str | None, model: str | None, group: tuple[str, Pattern], transactional_id: str
) -> None:
    scope = Scope(installation="prod", namespace=namespace, model=model)
    assert of(Role.PREDICTOR, Resource.GROUP, scope) == [group]
    assert of(Role.PREDICTOR, Resource.TRANSACTIONAL_ID, scope) == [(transactional_id, Pattern.PREFIXED)]
    assert of(Role.AUTOSCALER, Resource.GROUP, scope) == [group]
    identity = ModelIdentity("prod", "shop", "wine")
    by_resource = {right.resource: right for right in rights(Role.PREDICTOR, scope) if right.resource != "topic"}
    assert covers(by_resource[Resource.GROUP], identity.consumer_group)
    assert covers(by_resource[Resource.TRANSACTIONAL_ID], identity.slot(11))


def test_one_installations_rights_are_none_in_another_that_is_called_alike() -> None:
    """The dot at the end keeps them apart."""
    other = ModelIdentity("prod-2", "shop", "wine")
    for role in Role:
        for right in rights(role, Scope(installation="prod")):
            assert not covers(right, other.consumer_group)
            assert not covers(right, other.slot(0))
            assert not covers(right, "rollcast.prod-2.notifier")
            assert not covers(right, "rollcast-client.prod-2.web")


def test_clients_may_read_in_groups_of_their_own_naming() -> None:
    assert of(Role.CLIENT, Resource.GROUP, Scope(installation="prod")) == [("rollcast-client.prod.", Pattern.PREFIXED)]
    assert of(Role.CLIENT, Resource.GROUP, Scope(client_groups="web-")) == [("web-", Pattern.PREFIXED)]


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"model": "wine"}, "a model is named without its namespace"),
        ({"installation": "Prod"}, "installation was 'Prod', may be lower-case"),
        ({"namespace": "a.b"}, r"namespace was 'a\.b', may be lower-case"),
        ({"namespace": "shop", "model": ""}, "model was '', may be lower-case"),
        ({"client_groups": ""}, "may be any text that is not empty"),
    ],
)
def test_a_name_that_would_give_something_else_is_refused(values: dict[str, str], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        Scope(**values)  # type: ignore[arg-type]  # topics are not among them
