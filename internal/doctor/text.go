// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"fmt"
	"io"
	"strconv"
	"strings"
)

// WriteText writes the report for people.
func (r Report) WriteText(w io.Writer) error {
	var b strings.Builder
	switch {
	case r.Holds < 0:
		b.WriteString("None of this host's limits could be read.\n")
	case r.Goal.Conns == 0:
		fmt.Fprintf(&b, "This host can hold %s connections.\n", Count(r.Holds))
	case r.Enough:
		fmt.Fprintf(&b, "This host can hold %s connections: enough for %s.\n", Count(r.Holds), Count(r.Goal.Conns))
	default:
		fmt.Fprintf(&b, "This host can hold %s connections, not %s.\n", Count(r.Holds), Count(r.Goal.Conns))
	}
	if len(r.Limits) > 0 {
		fmt.Fprintf(&b, "\n%2s  %13s  %s\n", "", "connections", "are limited by")
	}
	for i, l := range r.Limits {
		mark := ""
		if !l.Enough {
			mark = "  << too low"
		}
		fmt.Fprintf(&b, "%2d. %13s  %s (%s): %s%s\n", i+1, Count(l.Conns), l.Name, l.Key, l.Sum, mark)
	}
	if f := r.Frames; f.Conns >= 0 {
		fmt.Fprintf(&b, "\n%.3g processors give %s connections a frame each %v, at %v each (10 rows; %v for each more) and with nothing left; advice counts %v\n",
			f.Processors, Count(f.Conns), r.Goal.Interval, f.Cost, furtherRow, FlushCost)
	}
	m := r.Memory
	fmt.Fprintf(&b, `
Memory for %s connections: %s
  %7s bytes each in the edge, %s in the kernel, %s more while a frame is on its way
  %7s for the edge without connections; TCP buffers take at most %s of it all
  %7s are expected in use, with 10 topics each and clients that read at once: the rest is for those that don't, and for storms
`, Count(m.Conns), Bytes(m.All), Count(m.User), Count(m.Idle), Count(m.Busy), Bytes(m.Base), Bytes(m.AllInTCP), Bytes(m.InUse))

	first := true
	for _, l := range r.Limits {
		if l.Enough {
			continue
		}
		if first {
			b.WriteString("\nTo change, for this goal\n")
			first = false
		}
		fmt.Fprintf(&b, "  %s: is %s, must be %s\n", l.Key, Count(int64(l.Have)), Count(int64(l.Need)))
		writeFixes(&b, l.Fixes)
	}
	if len(r.Advice) > 0 {
		b.WriteString("\nAdvice: these turn no connection away for good, but make them slow\n")
	}
	for _, a := range r.Advice {
		fmt.Fprintf(&b, "  %s: is %s, better %s; %s\n", a.Key, a.Have, a.Want, a.Why)
		writeFixes(&b, a.Fixes)
	}
	writeList(&b, "Also", r.Notes)
	writeList(&b, "Not read", r.Host.Unread)
	if r.Goal.Conns == 0 {
		b.WriteString("\nedge doctor -max-conns 100000 says what to change for that many.\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func writeFixes(b *strings.Builder, fixes []Fix) {
	for _, f := range fixes {
		fmt.Fprintf(b, "    %-12s %s\n", f.Where, f.Line)
	}
}

func writeList(b *strings.Builder, title string, lines []string) {
	if len(lines) == 0 {
		return
	}
	fmt.Fprintf(b, "\n%s\n", title)
	for _, line := range lines {
		fmt.Fprintf(b, "  %s\n", line)
	}
}

// Count writes a number with commas between thousands.
func Count(n int64) string {
	digits, sign := strconv.FormatInt(n, 10), ""
	if n < 0 {
		digits, sign = digits[1:], "-"
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return sign + digits
}

// Bytes writes an amount of memory in the largest unit that leaves a digit before the
// point.
func Bytes(n int64) string {
	value, unit := float64(n), 0
	for value >= 1024 && unit < 4 {
		value, unit = value/1024, unit+1
	}
	return strings.TrimSuffix(fmt.Sprintf("%.1f", value), ".0") + " " + [...]string{"B", "KiB", "MiB", "GiB", "TiB"}[unit]
}
