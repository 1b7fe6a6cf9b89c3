// SPDX-License-Identifier: Apache-2.0

//go:build race

package main

// With the race detector on the edges that tests start have it too.
func init() { buildFlags = append(buildFlags, "-race") }
