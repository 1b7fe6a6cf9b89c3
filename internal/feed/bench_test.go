package feed

import (
	"fmt"
	"log/slog"
	"testing"

	"github.com/redis/go-redis/v9"

	"tickedge/internal/topics"
)

// BenchmarkReceive is what a message costs once go-redis has read it.
func BenchmarkReceive(b *testing.B) {
	table := topics.New(topics.Config{Max: 1000})
	f, err := New(At("redis://127.0.0.1:1"), table, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	r := f.sources[0].source.(*server)
	messages := make([]any, 1000)
	for i := range messages {
		name := fmt.Sprint("T", i)
		table.Acquire([]byte(name))
		messages[i] = &redis.Message{Channel: r.channel.name(name), Payload: `{"p":189.87,"b":189.86,"a":189.88,"ts":1732181723411}`}
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		r.receive(messages[i])
		if i++; i == len(messages) {
			i = 0
		}
	}
}

func BenchmarkInspect(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		inspect(`{"p":189.87,"b":189.86,"a":189.88,"ts":1732181723411}`)
	}
}
