// SPDX-License-Identifier: Apache-2.0

package broker

import "tickedge/internal/topics"

// Cause is why a broker does not serve a topic, as operators are told of it. Clients are told
// less, see [Cause.Why].
type Cause uint8

const (
	NoCause              Cause = iota
	NotPermitted               // The edge's user may not have the topic.
	NotLetIn                   // The edge is not let in at all: its password, its user.
	BadValue                   // The newest value can't be passed on.
	WrongType                  // What is in the place of the newest value is no value.
	Elsewhere                  // Another server has the topic.
	Loading                    // The server loads its data.
	Down                       // The server has lost its primary, or its cluster does not work.
	Busy                       // The server does something else.
	OutOfMemory                // The server has no memory left.
	ReadOnly                   // The server takes no commands that change anything.
	TooManyClients             // The server has as many clients as it takes.
	TooManySubscriptions       // The server holds as many subscriptions of the connection as it does.
	Unreachable                // The server was not reached, or did not answer.
	OtherCause                 // Anything else that the broker says.
	Unconfirmed                // Ticks may have been missed, and nobody has the newest value.
	Causes                     // Their number.
)

var causes = [Causes]struct {
	label string
	why   topics.Why
}{
	NotPermitted:         {"not_permitted", topics.NotPermitted},
	NotLetIn:             {"not_let_in", topics.NotPermitted},
	BadValue:             {"bad_value", topics.Unusable},
	WrongType:            {"wrong_type", topics.Unusable},
	Elsewhere:            {"elsewhere", topics.Unserved},
	Loading:              {"loading", topics.Unserved},
	Down:                 {"down", topics.Unserved},
	Busy:                 {"busy", topics.Unserved},
	OutOfMemory:          {"out_of_memory", topics.Unserved},
	ReadOnly:             {"read_only", topics.Unserved},
	TooManyClients:       {"too_many_clients", topics.Unserved},
	TooManySubscriptions: {"too_many_subscriptions", topics.Unserved},
	Unreachable:          {"unreachable", topics.Unserved},
	OtherCause:           {"other", topics.Unserved},
	Unconfirmed:          {"unconfirmed", topics.Unserved},
}

// Label is the name of c in metrics and in the log.
func (c Cause) Label() string { return causes[c].label }

// Why is what clients are told: whether it is for somebody to permit, or to publish something
// else, or passes.
func (c Cause) Why() topics.Why { return causes[c].why }
