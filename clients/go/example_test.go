// SPDX-License-Identifier: Apache-2.0

package tickedge_test

import (
	"context"
	"fmt"
	"log"
	"os/signal"
	"syscall"

	tickedge "tickedge/clients/go"
)

// Print what is new of two topics until Ctrl-C.
func ExampleClient() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT)
	defer stop()
	c := tickedge.New("ws://localhost:8080/ws", tickedge.Options{})
	defer c.Close()
	sub, err := c.Subscribe(ctx, "AAPL", "MSFT")
	if err != nil {
		log.Fatal(err)
	}
	for u, err := range sub.All(ctx) {
		switch {
		case err != nil: // Ctrl-C, or the edge does not want this client.
			log.Print(err)
		case u.Err() != nil: // The others go on.
			log.Print(u.Err())
		case u.New:
			fmt.Printf("%s %s (%d ticks in between)\n", u.Topic, u.Value, u.Conflated)
		default:
			fmt.Printf("%s is %s: %s\n", u.Topic, u.State, u.Reason)
		}
	}
}

// An edge that asks for tokens gets a newer one before the last ends.
func ExampleOptions_token() {
	issue := func(context.Context) (string, error) { return "a JWT", nil } // Of your log-in.
	c := tickedge.New("wss://example.com/ws", tickedge.Options{Token: issue})
	defer c.Close()
}
