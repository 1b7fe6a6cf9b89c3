// SPDX-License-Identifier: Apache-2.0

// Package screen is subscriptions that choose their topics by a condition: which topics a pattern covers, which of
// them are inside by what their values say, and what has changed of that.
//
// All who ask for the same share one [View]. A condition is evaluated where a tick is committed, once for all views
// that have it, and a view notes the change. Conns come by and fetch what has changed since they came last, as they do with
// topics: nothing is queued for a conn.
//
//	             Registry: covers of patterns, and views
//	cover ──► watch of each topic ──► plan: the members to look at, conditions, their views
//	                 ▲                                     │ inside, or not any more
//	  topics.Table ──┘ Committed                           ▼
//	                                     View: members, and a log of changes ◄── conns, by Changes
//
//	spec.go      what is asked for
//	registry.go  views come and go, and their limits
//	turn.go      what is due from time to time
//	cover.go     the topics that patterns cover, and how they are found
//	watch.go     a row is committed
//	view.go      who is inside, and what has changed
//	rank.go      the first so many, in order
//	cost.go      what conditions cost
//
// and the language of conditions:
//
//	lex.go parse.go check.go normal.go  from a text to a condition, in one spelling for all that mean the same
//	number.go extract.go eval.go        decimals, the members of a value, and the verdict
package screen
