// SPDX-License-Identifier: Apache-2.0

//go:build race

package fanout

// A shard has one goroutine, so a detector of races has nothing to see in its models, which take ten times as long with it:
// "make test" runs them all without it.
func init() { raced = true }
