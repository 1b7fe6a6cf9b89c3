// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"math"

	"tickedge/internal/doctor"
)

// Traffic is what all clients get. Rates are per second.
type Traffic struct {
	Rows     float64 `json:"rows_per_frame"`
	Share    float64 `json:"windows_with_news"` // Of one client.
	Frames   float64 `json:"frames_per_second"`
	Bytes    float64 `json:"bytes_per_frame"` // What stands around rows included.
	Payload  float64 `json:"payload_bytes_per_second"`
	Out      float64 `json:"bytes_out_per_second"` // With TCP and IP, as clouds count.
	In       float64 `json:"bytes_in_per_second"`
	PktsOut  float64 `json:"packets_out_per_second"`
	PktsIn   float64 `json:"packets_in_per_second"`
	perFrame float64 // Packets.

	Sums []string `json:"sums"`
}

// traffic follows the rows of one client: a topic is in a flush if it has ticked in the window.
func (p *Plan) traffic() {
	l := p.Load
	window := l.Window.Seconds()
	perFlush := float64(l.Topics) * ticked(l.TickRate*window)
	share := ticked(float64(l.Topics) * l.TickRate * window)
	t := Traffic{Share: share}
	if share > 0 {
		t.Rows = perFlush / share
	}
	envelope := float64(frameEnvelope)
	if l.Transport == Events {
		envelope = eventEnvelope
	}
	// What is longer than a piece goes out as several frames.
	rowBytes := t.Rows * float64(l.RowBytes)
	pieces := max(1, math.Ceil(rowBytes/pieceMost))
	t.Rows /= pieces
	t.Bytes = rowBytes/pieces + envelope
	wire := t.Bytes
	if l.TLS {
		wire += math.Ceil(t.Bytes/recordMost) * recordEnvelope
	}
	t.Frames = float64(l.Clients) * share * pieces / window
	if t.Frames == 0 {
		t.Bytes, wire = 0, 0
	}
	t.perFrame = math.Ceil(wire / segment)
	t.Payload = t.Frames * t.Bytes
	t.PktsOut = t.Frames * t.perFrame
	t.PktsIn = t.Frames * math.Ceil(t.perFrame/2)
	t.Out = t.Frames*wire + t.PktsOut*headers
	t.In = t.PktsIn * headers
	t.Sums = []string{
		fmt.Sprintf("%d topics × (1 − e^(−%v ticks/s × %v)) = %s rows in a window", l.Topics, l.TickRate, l.Window, short(perFlush)),
		fmt.Sprintf("%s clients × %s of windows with news / %v = %s frames/s, of %s rows", doctor.Count(l.Clients), short(share*pieces),
			l.Window, rate(t.Frames), short(t.Rows)),
		fmt.Sprintf("%s rows × %d B + %.0f B around them = %s a frame", short(t.Rows), l.RowBytes, envelope, decimal(t.Bytes)),
		fmt.Sprintf("%s frames/s × (%s + %s packets × %d B of headers) = %s out", rate(t.Frames), decimal(wire), short(t.perFrame), headers,
			bits(t.Out)),
	}
	p.Traffic = t
}

// ticked is the chance of at least one tick where so many are expected.
func ticked(expected float64) float64 { return -math.Expm1(-expected) }
