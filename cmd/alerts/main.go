// SPDX-License-Identifier: Apache-2.0

// Command alerts watches prices for users, and says once when one is reached. See alerts -h.
package main

import (
	"tickedge/internal/app"
	program "tickedge/internal/app/alerts"
)

func main() { app.Main(program.Main) }
