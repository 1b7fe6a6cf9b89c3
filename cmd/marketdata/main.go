// SPDX-License-Identifier: Apache-2.0

// Command marketdata brings trades from exchanges, makes bars of them, and publishes prices and bars. See marketdata -h.
package main

import (
	"tickedge/internal/app"
	program "tickedge/internal/app/marketdata"
)

func main() { app.Main(program.Main) }
