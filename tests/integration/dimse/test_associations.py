"""Associations: negotiation, identity, limits, and faults of peers (PS3.8)."""

from pynetdicom import AE

from tests.integration.dimse.gateways import RunningGateway

VERIFICATION = "1.2.840.10008.1.1"


def test_a_peer_verifies_the_connection(gateway: RunningGateway) -> None:
    ae = AE("TESTER")
    ae.add_requested_context(VERIFICATION)
    association = ae.associate("127.0.0.1", gateway.port, ae_title="DICOMSTORE")
    assert association.is_established
    assert association.send_c_echo().Status == 0
    association.release()
    assert association.is_released


def test_another_called_ae_title_is_rejected(gateway: RunningGateway) -> None:
    ae = AE("TESTER")
    ae.add_requested_context(VERIFICATION)
    association = ae.associate("127.0.0.1", gateway.port, ae_title="OTHER")
    assert association.is_rejected
    assert association.acceptor.primitive.result == 1
    assert association.acceptor.primitive.diagnostic == 7


def test_contexts_that_no_service_supports_are_refused_and_the_others_accepted(gateway: RunningGateway) -> None:
    ae = AE("TESTER")
    ae.add_requested_context(VERIFICATION)
    ae.add_requested_context("1.2.3.4")
    ae.add_requested_context(VERIFICATION, "1.2.3.5")
    association = ae.associate("127.0.0.1", gateway.port, ae_title="DICOMSTORE")
    assert [context.abstract_syntax for context in association.accepted_contexts] == [VERIFICATION]
    assert {context.result for context in association.rejected_contexts} == {3, 4}
    association.release()
