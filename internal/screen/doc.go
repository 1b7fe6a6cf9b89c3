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
// and the language of conditions, the part of CEL that docs/SCREENS.md describes:
//
//	number.go   Number: decimal numbers, exactly
//	lex.go      a source cut into tokens
//	parse.go    Parse: tokens to a tree
//	check.go    which types an operator takes
//	normal.go   one text for all spellings of a condition
//	extract.go  Paths, Values: the members of a value, found in one pass
//	eval.go     Program: conditions as they are evaluated
package screen
