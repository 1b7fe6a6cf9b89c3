// SPDX-License-Identifier: Apache-2.0

// Command demo is a whole system in one process: a simulated market, its bars and their history, and an edge with a board
// that shows them. See demo -h.
package main

import (
	"tickedge/internal/app"
	program "tickedge/internal/app/demo"
)

func main() { app.Main(program.Main) }
