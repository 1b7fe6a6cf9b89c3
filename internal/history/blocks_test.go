// SPDX-License-Identifier: Apache-2.0

package history

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"tickedge/internal/bars"
	"tickedge/internal/trade"
)

// secondsOf returns bars of a second from a number on, without those whose number is a multiple of gap, if that is not 0.
func secondsOf(t *testing.T, from, to, gap int64) (list []bars.Bar) {
	t.Helper()
	tf, err := bars.ParseInterval("1s")
	if err != nil {
		t.Fatal(err)
	}
	symbol := &trade.Symbol{Name: "A", PriceScale: 2, SizeScale: 8}
	for n := from; n < to; n++ {
		if gap != 0 && n%gap == 0 {
			continue
		}
		list = append(list, bars.Bar{Symbol: symbol, Interval: tf, Start: n * 1000, Open: 100 + n, High: 130 + n, Low: 90 + n, Close: 120 + n,
			Volume: bars.Sum{Lo: uint64(n) * 77}, Turnover: bars.Sum{Lo: uint64(n) * 7777}, Count: n % 9, Closed: true})
	}
	return list
}

func pageOf(list []bars.Bar, f form) *page {
	p := &page{ask: ask{symbol: "A", form: f}, bars: list}
	if len(list) > 0 {
		p.tf = list[0].Interval
	} else {
		p.tf = &bars.Interval{Name: "1s", Millis: 1000}
	}
	return p
}

// unzipped reads one member, as browsers do, and nothing may be behind it.
func unzipped(t *testing.T, text []byte) string {
	t.Helper()
	in := bytes.NewReader(text)
	z, err := gzip.NewReader(in)
	if err != nil {
		t.Fatal(err)
	}
	z.Multistream(false)
	all, err := io.ReadAll(z)
	if err != nil || in.Len() != 0 {
		t.Fatalf("%d bytes are left, %v", in.Len(), err)
	}
	return string(all)
}

// A page that is put together from blocks is the text of its bars: of each form, wherever it begins and ends, with gaps, from
// blocks that are kept and from those that are not.
func TestPagesOfBlocks(t *testing.T) {
	w := works.Get().(*work)
	for _, gap := range []int64{0, 2, 3, 7} {
		all := secondsOf(t, 1, 1000, gap)
		for f := range form(len(forms)) {
			for name, kept := range map[string]*blocks{"all kept": newBlocks(0), "few kept": newBlocks(8000)} {
				for range 60 {
					from := rand.IntN(len(all))
					p := pageOf(all[from:from+rand.IntN(len(all)-from+1)], f)
					p.next = []string{"", "abc"}[rand.IntN(2)]
					if p.live = rand.IntN(2) == 0; p.live {
						p.Open, p.Revs, p.Ver = &all[0], 3, 4
					}
					want := string(p.append(nil))
					w.tag(p)
					text, zipped := w.text(p, kept, true)
					if zipped != (len(want) >= gzipMin) {
						t.Fatalf("%d bytes: packed: %v", len(want), zipped)
					}
					got := string(text)
					if zipped {
						got = unzipped(t, text)
					}
					if got != want {
						t.Fatalf("gap %d, %v, %s, %d bars from %d on: got\n%s\nwant\n%s", gap, f, name, len(p.bars), from, got, want)
					}
					if text, zipped = w.text(p, kept, false); zipped || string(text) != want {
						t.Fatalf("not packed: %v %s", zipped, text)
					}
					if kept.bytes > kept.most {
						t.Fatalf("%d bytes are kept, of at most %d", kept.bytes, kept.most)
					}
				}
				if len(kept.has) == 0 || len(kept.has) != kept.used.Len() {
					t.Errorf("gap %d: %d blocks are kept, %d in order", gap, len(kept.has), kept.used.Len())
				}
			}
		}
	}
}

// Whatever changes in a bar changes its text and the ETag at once, also of a page whose blocks are kept.
func TestBlocksAreNeverOld(t *testing.T) {
	kept, w := newBlocks(0), works.Get().(*work)
	list := secondsOf(t, 1, 501, 0)
	read := func(p *page) (tag, text string) {
		t.Helper()
		tag = w.tag(p)
		b, zipped := w.text(p, kept, true)
		if !zipped {
			t.Fatal("it is not packed")
		}
		return tag, unzipped(t, b)
	}
	tags := make(map[string]string)
	see := func(what string, p *page) {
		t.Helper()
		tag, text := read(p)
		if want := string(p.append(nil)); text != want {
			t.Fatalf("%s: an old text", what)
		}
		if has := tags[tag]; has != "" {
			t.Errorf("%s has the ETag of %s", what, has)
		}
		tags[tag] = what
	}
	see("the page", pageOf(list, asJSON))
	if tag, _ := read(pageOf(slices.Clone(list), asJSON)); tags[tag] == "" {
		t.Error("the same bars have another ETag")
	}
	for _, i := range []int{0, 70, 200, 499} {
		for what, change := range map[string]func(*bars.Bar){
			"open": func(b *bars.Bar) { b.Open++ }, "high": func(b *bars.Bar) { b.High++ },
			"low": func(b *bars.Bar) { b.Low++ }, "close": func(b *bars.Bar) { b.Close++ },
			"volume": func(b *bars.Bar) { b.Volume.Lo++ }, "much volume": func(b *bars.Bar) { b.Volume.Hi++ },
			"turnover": func(b *bars.Bar) { b.Turnover.Lo++ }, "much turnover": func(b *bars.Bar) { b.Turnover.Hi++ },
			"count": func(b *bars.Bar) { b.Count++ }, "rev": func(b *bars.Bar) { b.Rev++ }, "start": func(b *bars.Bar) { b.Start++ },
			"scale of prices": func(b *bars.Bar) { b.Symbol = &trade.Symbol{Name: "A", PriceScale: 3, SizeScale: 8} },
			"scale of sizes":  func(b *bars.Bar) { b.Symbol = &trade.Symbol{Name: "A", PriceScale: 2, SizeScale: 7} },
		} {
			other := slices.Clone(list)
			change(&other[i])
			see(fmt.Sprintf("%s of bar %d", what, i), pageOf(other, asJSON))
		}
	}
	p := pageOf(list, asJSON)
	p.next = "abc"
	see("a page with another before it", p)
	p = pageOf(list, asJSON)
	p.live = true
	see("a page of a live series", p)
	p = pageOf(list, asJSON)
	p.live, p.Revs = true, 1
	see("a page of a live series with a revision", p)
	p = pageOf(list, asJSON)
	p.live, p.Open = true, &list[3]
	see("a page with an open bar", p)
	see("CSV", pageOf(list, asCSV))
	p = pageOf(list, asCSV)
	p.next = "abc"
	see("CSV with a link", p)
	see("NDJSON", pageOf(list, asNDJSON))
	see("one less at the end", pageOf(list[:499], asJSON))
	see("one less at the beginning", pageOf(list[1:], asJSON))
}

// A page that is a second newer than another takes all blocks but the newest from it, and a block that was used stays.
func TestBlocksAreUsedAgain(t *testing.T) {
	kept, w := newBlocks(0), works.Get().(*work)
	list := secondsOf(t, 0, 600, 0)
	read := func(from, to int) {
		p := pageOf(list[from:to], asJSON)
		w.tag(p)
		w.text(p, kept, true)
	}
	read(10, 510)
	has := len(kept.has)
	if has != 6 {
		t.Fatalf("%d blocks of 500 bars", has)
	}
	for at := 11; at < 60; at++ {
		read(at, at+500)
	}
	if n := len(kept.has); n != has+1 {
		t.Errorf("%d blocks, want the one more that has become full", n)
	}
	if n := testing.AllocsPerRun(20, func() { read(10, 510) }); n > 4 {
		t.Errorf("a page from blocks takes %v allocations", n)
	}
	// With room for three, the one that is used in between stays.
	few := newBlocks(3 * (blockBytes + 1000))
	sums := make([]sum, 10)
	for i := range sums {
		sums[i][0] = byte(i + 1)
		few.put(&sums[i], packed{deflated: make([]byte, 1000)})
		few.put(&sums[i], packed{deflated: make([]byte, 1000)})
		if _, ok := few.get(&sums[0]); !ok {
			t.Fatal("what is used goes")
		}
	}
	if _, ok := few.get(&sums[1]); ok || len(few.has) != 3 || few.bytes != few.most {
		t.Errorf("%d blocks, %d bytes", len(few.has), few.bytes)
	}
}

// The CRC of texts behind each other is that of them together, also of long and of empty ones.
func TestMember(t *testing.T) {
	p := newPacker()
	for _, sizes := range [][]int{{}, {0}, {1}, {0, 1, 0}, {5, 3}, {1000, 70_000, 1}, {255, 256, 257, 65_535, 65_536}} {
		var m member
		var want []byte
		m.begin()
		for i, n := range sizes {
			text := []byte(strings.Repeat(fmt.Sprint("text ", i, n), n))[:n]
			want = append(want, text...)
			one := p.pack(text)
			if i%2 == 0 {
				one = one.kept()
				p.pack([]byte("something else"))
			}
			m.add(&one)
		}
		if m.crc != crc32.ChecksumIEEE(want) {
			t.Errorf("%v: the CRC is %x", sizes, m.crc)
		}
		if got := unzipped(t, m.end()); got != string(want) {
			t.Errorf("%v: %d bytes, want %d", sizes, len(got), len(want))
		}
	}
}

// To merge is to have each start once, in its newest state, whatever the lists are.
func TestMergeRandom(t *testing.T) {
	for range 2000 {
		var lists [][]bars.Bar
		want := make(map[int64]bars.Bar)
		from, to := rand.Int64N(10), 10+rand.Int64N(15)
		if rand.IntN(4) == 0 {
			from, to = math.MinInt64, math.MaxInt64
		}
		for range rand.IntN(4) {
			var list []bars.Bar
			for range rand.IntN(10) {
				list = append(list, bars.Bar{Start: rand.Int64N(25), Count: rand.Int64N(3), Rev: rand.Int64N(3), Closed: true, Open: rand.Int64N(2)})
			}
			if rand.IntN(3) > 0 {
				list = ordered(list)
			}
			lists = append(lists, list)
			for _, b := range ordered(list) {
				if has, ok := want[b.Start]; b.Start >= from && b.Start < to && (!ok || Newer(&b, &has)) {
					want[b.Start] = b
				}
			}
		}
		lists = append(lists, slices.Concat(lists[:len(lists)/2]...)) // What is there already.
		before := slices.Concat(lists...)
		got := merge(from, to, lists...)
		if !slices.Equal(before, slices.Concat(lists...)) {
			t.Fatal("a list was changed")
		}
		if len(got) != len(want) || !rising(got) {
			t.Fatalf("%v\nof %v, want %v", got, lists, want)
		}
		for _, b := range got {
			if b != want[b.Start] {
				t.Fatalf("%v, want %v", b, want[b.Start])
			}
		}
	}
}

// BenchmarkText makes the text of a page whose blocks are kept, and its tag.
func BenchmarkText(b *testing.B) {
	kept, w := newBlocks(0), works.Get().(*work)
	list := secondsOf(new(testing.T), 1_000_010, 1_000_510, 0)
	for b.Loop() {
		p := pageOf(list, asJSON)
		w.tag(p)
		text, _ := w.text(p, kept, true)
		b.ReportMetric(float64(len(text)), "B/page")
	}
}
