// SPDX-License-Identifier: Apache-2.0

// Command edge brings the newest ticks from Redis to WebSocket clients. See edge -h.
package main

import (
	"tickedge/internal/app"
	program "tickedge/internal/app/edge"
)

func main() { app.Main(program.Main) }
