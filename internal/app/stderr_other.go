//go:build !linux

package app

import (
	"io"
	"os"
)

// takeStderr returns standard error for the log.
func takeStderr() io.Writer { return os.Stderr }
