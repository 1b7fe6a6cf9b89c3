// SPDX-License-Identifier: Apache-2.0

package tickedge

import "syscall"

const (
	sigcont = syscall.SIGCONT
	sigstop = syscall.SIGSTOP
	sigterm = syscall.SIGTERM
)
