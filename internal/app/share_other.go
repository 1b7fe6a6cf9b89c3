// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package app

import "syscall"

// SharePort shares nothing: an edge that takes the place of another can't have its agent port here.
func SharePort(string, string, syscall.RawConn) error { return nil }
