// SPDX-License-Identifier: Apache-2.0

//go:build race

package topics

// Under the race detector a million names would take half a minute.
func init() { memoryNames = 100_000 }
