// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package edge

import "syscall"

// sharePort shares nothing: an edge that takes the place of another can't have its agent port here.
func sharePort(string, string, syscall.RawConn) error { return nil }
