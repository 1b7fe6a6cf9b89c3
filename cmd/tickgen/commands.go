// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"

	"tickedge/internal/market"
)

const commandForms = "pause | resume | speed N (1 to 10) | status | quit"

// commands obeys the lines of in until it ends or says quit, which is what the result
// tells. The end of in is not the end of the ticks: a service has no standard input.
func commands(in io.Reader, out io.Writer, p *market.Player, status func() string) (quit bool) {
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) == 0 {
			continue
		}
		reply := "tickgen: unknown command " + strconv.Quote(lines.Text()) + ", want " + commandForms
		switch {
		case len(words) == 2 && words[0] == "speed":
			reply = setSpeed(p, words[1], status)
		case words[0] == "speed":
			reply = "tickgen: speed wants one number from 1 to 10, such as: speed 5"
		case len(words) > 1:
		case words[0] == "pause":
			p.Pause()
			reply = status()
		case words[0] == "resume":
			p.Resume()
			reply = status()
		case words[0] == "status":
			reply = status()
		case words[0] == "quit":
			return true
		}
		fmt.Fprintln(out, reply)
	}
	return false
}

func setSpeed(p *market.Player, word string, status func() string) string {
	speed, err := strconv.ParseFloat(word, 64)
	if err != nil {
		return fmt.Sprintf("tickgen: speed %q is not a number, want 1 to 10", word)
	}
	if err := p.SetSpeed(speed); err != nil {
		return "tickgen: " + err.Error()
	}
	return status()
}
