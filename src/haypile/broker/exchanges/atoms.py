"""Words that RabbitMQ knows, though not as exchange types.

Owns: a list of them. Must not know: anything else.

RabbitMQ tells an "unknown exchange type" from an "invalid" one by whether the word happens to be an
atom of the running Erlang system; there are tens of thousands. Here are those that somebody might
take for an exchange type, asked of RabbitMQ 3.10.8.
"""

from __future__ import annotations

_WORDS = """
a abstract ack alert all and any append array atom auth b backup bad bar base basic begin binary
bind boolean bottom break broadcast c cancel case catch class classic client close cluster common
consistent consumer consumers continue count critical d data date day debug declare default delay
delete dlx do down dummy durable else empty end entries entry error errors event events exact
exchange exchanges exit expires external false federation filter find first float follower foo fun
function get group groups halt hash head header hello host hour if in index info insert install
integer internal invalid invalid_type item items key keys kill last leader left length list local
log login loop main map master match match_all max maybe member members message messages method min
minute module msg multicast name names never new news next nil no node none normal not notice null
number object off ok old on one one_of open or order other out password pattern peek permission pid
policies policy pop port post prefix prev primary priority process publish push put queue queues
quorum raise random record ref refresh regex reject reload remove replica reply request response
restart return right root round route rpc sample search second secondary server set shutdown simple
size slave some sort special star start stop stream string subscribe suffix sum system table tail
temp term test testing thread throw time timeout timer tmp top total transient true try ttl tuple
type types undefined unknown up update upgrade user users value values vhost warning when while
wildcard work worker workers world x xor y yes z
"""

ATOMS = frozenset(_WORDS.split()) | {""}
