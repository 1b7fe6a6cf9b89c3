// SPDX-License-Identifier: Apache-2.0

package flags

import (
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// A terminal is asked how wide it is.
func TestWidthOfATerminal(t *testing.T) {
	t.Setenv("COLUMNS", "")
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	fd := int(master.Fd())
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	terminal, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	for columns, want := range map[uint16]int{132: 132, 10: widthMin, 0: widthDefault} {
		if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: columns}); err != nil {
			t.Fatal(err)
		}
		if got := width(terminal); got != want {
			t.Errorf("%d columns: %d, want %d", columns, got, want)
		}
	}
}
