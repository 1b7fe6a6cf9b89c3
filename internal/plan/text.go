// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"io"
	"strings"

	"tickedge/internal/doctor"
)

// WriteText writes the plan for people.
func (p Plan) WriteText(w io.Writer) error {
	var b strings.Builder
	l, e, g := p.Load, p.Edges, p.OneGone
	speaks := "WebSockets"
	if l.Transport == Events {
		speaks = "streams of events"
	}
	fmt.Fprintf(&b, "%s clients with %d of %s topics each, by %s, a window of %v; %s ticks a second.\n\n", doctor.Count(l.Clients), l.Topics,
		doctor.Count(int64(l.Symbols)), speaks, l.Window, rate(l.ticks()))
	line := func(what, format string, a ...any) { fmt.Fprintf(&b, "  %-15s %s\n", what, fmt.Sprintf(format, a...)) }
	hosts := fmt.Sprintf("%d of %d cores, an edge on each", e.Count, l.Cores)
	busy := l
	if busy.FrameCost = doctor.FlushCost; l.Edges == 0 && l.FrameCost < busy.FrameCost {
		hosts += fmt.Sprintf("; %d if a frame takes %v, as edge doctor counts", Make(busy).Edges.Count, busy.FrameCost)
	}
	line("hosts", "%s", hosts)
	cores := fmt.Sprintf("%s in all, %s of each host (%.0f %%)", short(e.All), short(e.Cores), 100*e.Load)
	if e.Count > 1 {
		cores += fmt.Sprintf("; %.0f %% if one edge goes", 100*g.Load)
	}
	line("cores", "%s", cores)
	line("memory", "%s on each host; %s are expected of each edge", doctor.Bytes(g.Memory), doctor.Bytes(e.Memory))
	line("files", "%s for each edge", doctor.Count(g.Files))
	line("out", "%s, %s packets/s; of each host %s", bits(p.Traffic.Out), rate(p.Traffic.PktsOut), bits(e.Out))
	line("in", "%s, %s packets/s", bits(p.Traffic.In), rate(p.Traffic.PktsIn))
	if p.Proxy != nil {
		line("TLS", "%s cores, %s and %s files of proxies", short(p.Proxy.Cores), doctor.Bytes(p.Proxy.Memory), doctor.Count(p.Proxy.Files))
	}
	if p.Price != nil {
		line("egress", "%s GB a month: %s", short(p.Price.GB), short(p.Price.Month))
	}
	line("broker", "%s messages/s in, %s out, %s; %s cores of one Redis", rate(p.Broker.Published), rate(p.Broker.Out),
		bits(p.Broker.Bytes), short(p.Broker.Cores))
	switch {
	case e.Count == 1:
		line("one edge gone", "nobody is served")
	case g.Back < 0:
		line("one edge gone", "%s clients each, for whom the others have no processor left", doctor.Count(g.Clients))
	default:
		line("one edge gone", "%s clients each; its own are back %s after they have come", doctor.Count(g.Clients), span(g.Back))
	}
	if c := p.Comeback; c.Seconds < 0 {
		line("all come back", "never: the edges have no processor left for it")
	} else {
		line("all come back", "within %s", span(c.Seconds))
	}
	writeList(&b, "To change", p.Warnings)
	var sums []string
	for _, of := range [][]string{p.Traffic.Sums, e.Sums, g.Sums, p.Comeback.Sums, p.Broker.Sums} {
		sums = append(sums, of...)
	}
	if p.Proxy != nil {
		sums = append(sums, p.Proxy.Sums...)
	}
	if p.Price != nil {
		sums = append(sums, p.Price.Sums...)
	}
	writeList(&b, "How it follows", sums)
	writeList(&b, "What is taken for granted", p.Assumptions)
	fmt.Fprintf(&b, "\nedge doctor -max-conns %d, on a host for it, says which sysctls and limits to change there.\n", g.Clients)
	_, err := io.WriteString(w, b.String())
	return err
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
