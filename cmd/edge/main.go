// Command edge brings the newest ticks from Redis to WebSocket clients. See edge -h.
package main

import (
	"os"

	program "tickedge/internal/app/edge"
)

func main() { os.Exit(program.Main(os.Args[1:])) }
