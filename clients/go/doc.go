// SPDX-License-Identifier: Apache-2.0

// Package tickedge is a client of the Tickedge edge: the newest values of topics, over one WebSocket that it keeps open.
//
// A [Client] connects when the first topic is subscribed, shares each topic between all its subscriptions, and comes back
// by itself when the connection is lost, as docs/PROTOCOL.md asks of clients. A [Subscription] holds the newest value of each of
// its topics that was not taken yet, and no more: who reads slowly gets newer values, less often, and holds up nobody.
//
// A [Screen] has the topics whose values fulfil a condition, and tells what comes in, changes and goes out.
//
// Values are the JSON that the publisher has written, byte for byte. No number of them becomes a float here.
//
// All exported functions may be called from any goroutine. None blocks but [Subscription.Next], [Subscription.All],
// [Screen.Next], [Screen.All] and [Client.Close].
package tickedge
