// SPDX-License-Identifier: Apache-2.0

//go:build !linux

// Command local needs Linux.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "local needs Linux: only there are all addresses of 127.0.0.0/8 its own")
	os.Exit(1)
}
