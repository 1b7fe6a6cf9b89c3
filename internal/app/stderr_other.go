// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package app

import (
	"io"
	"os"
)

// takeStderr returns standard error for the log.
func takeStderr() io.Writer { return os.Stderr }
