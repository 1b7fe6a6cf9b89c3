// SPDX-License-Identifier: Apache-2.0

package file

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"tickedge/internal/checkpoint"
	"tickedge/internal/checkpoint/checkpointtest"
)

// saverOf names the folder in which this process only saves, for TestKilled.
const saverOf = "TICKEDGE_TEST_SAVER_OF"

func TestMain(m *testing.M) {
	if dir := os.Getenv(saverOf); dir != "" {
		saveForEver(dir)
	}
	os.Exit(m.Run())
}

func mustOpen(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestStore(t *testing.T) {
	checkpointtest.Run(t, func(t *testing.T) func() checkpoint.Store {
		dir := filepath.Join(t.TempDir(), "a", "b")
		return func() checkpoint.Store { return mustOpen(t, dir) }
	})
}

func TestOneProcessAtATime(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), dir+": another process has them") {
		t.Errorf("a second store of the folder: %v", err)
	}
	s.Close()
	mustOpen(t, dir)
}

// TestDamage changes, cuts and lengthens a file: no part of it is taken for a state.
func TestDamage(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	_, epoch, _ := s.Load(t.Context(), "k")
	if err := s.Save(t.Context(), "k", epoch, []byte("state")); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(s.path("k"))
	if err != nil {
		t.Fatal(err)
	}
	bad := [][]byte{{}, append(bytes.Clone(good), 0)}
	for i := range good {
		changed := bytes.Clone(good)
		changed[i] ^= 1
		bad = append(bad, changed, good[:i])
	}
	for i, b := range bad {
		if err := os.WriteFile(s.path("k"), b, 0o600); err != nil {
			t.Fatal(err)
		}
		if state, _, err := s.Load(t.Context(), "k"); err == nil || !strings.Contains(err.Error(), "is damaged") {
			t.Fatalf("damage %d: Load returns %q, %v", i, state, err)
		}
	}
	// What a process has left that was killed before its rename is none of it.
	if err := os.WriteFile(s.path("k"), good, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.path("k")+temporary, good[:9], 0o600); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s = mustOpen(t, dir)
	if state, _, err := s.Load(t.Context(), "k"); err != nil || string(state) != "state" {
		t.Errorf("Load returns %q, %v", state, err)
	}
	if _, err := os.Stat(s.path("k") + temporary); err == nil {
		t.Error("the file that a process has left is still there")
	}
}

// saveForEver saves states that count up, of sizes that vary, and prints what was saved.
func saveForEver(dir string) {
	s, err := Open(dir)
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	state, epoch, err := s.Load(ctx, "k")
	if err != nil {
		panic(err)
	}
	n := uint64(0)
	if state != nil {
		n = binary.LittleEndian.Uint64(state)
	}
	for {
		n++
		if err := s.Save(ctx, "k", epoch, bytes.Repeat(binary.LittleEndian.AppendUint64(nil, n), 1+int(n%5000))); err != nil {
			panic(err)
		}
		fmt.Println(n)
	}
}

// TestKilled kills a process that saves, several times: what it said was saved is there, and whole.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	for round := range 5 {
		cmd := exec.Command(os.Args[0], "-test.run=^$")
		cmd.Env = append(os.Environ(), saverOf+"="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines, last := bufio.NewScanner(out), uint64(0)
		for i := 0; lines.Scan(); i++ {
			if last, err = strconv.ParseUint(lines.Text(), 10, 64); err != nil {
				t.Fatal(err)
			}
			if i == 20+7*round {
				_ = cmd.Process.Kill()
			}
		}
		_ = cmd.Wait()
		s := mustOpen(t, dir)
		state, _, err := s.Load(t.Context(), "k")
		if err != nil {
			t.Fatal(err)
		}
		n := binary.LittleEndian.Uint64(state)
		if n < last || !bytes.Equal(state, bytes.Repeat(state[:8], 1+int(n%5000))) {
			t.Fatalf("round %d: state %d of %d bytes, want at least %d, whole", round, n, len(state), last)
		}
		s.Close()
	}
}
