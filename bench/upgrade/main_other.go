// SPDX-License-Identifier: Apache-2.0

//go:build !linux

// Command upgrade needs Linux.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "upgrade needs Linux: only there do edges share a port")
	os.Exit(1)
}
