// SPDX-License-Identifier: Apache-2.0

//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package loop

// adopt does nothing: the socket options of the Linux build have no equal on all of these
// systems.
func (e *engine) adopt(int) error { return nil }

// closeListener does nothing: new connections are answered with 503.
func (e *engine) closeListener() {}

func (e *engine) connectionWaits() bool { return false }

// holdListener does nothing: a loop whose accept fails waits instead.
func (e *engine) holdListener() (epoll int, ok bool) { return 0, false }

func (e *engine) listenAgain(int) bool { return true }

// limitLeaving does nothing: the kernel has limits of its own.
func limitLeaving(int) {}
