// SPDX-License-Identifier: Apache-2.0

// Package file keeps checkpoints in a folder, for one process at a time: a file of each key, which is
// replaced by a rename. The folder has to be on a file system of this host: locks (flock) and renames of a
// network's are not to be relied on.
package file

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"tickedge/internal/checkpoint"
)

// Store is a [checkpoint.Store]. Keys are saved side by side.
type Store struct {
	dir  string
	lock *os.File

	mu     sync.Mutex
	keys   map[string]*key
	closed bool
}

// key is one state; mu is held while its file is read or written.
type key struct {
	mu     sync.Mutex
	epoch  int64
	closed bool
}

const (
	suffix    = ".checkpoint"
	temporary = ".new"
)

var errClosed = errors.New("the store of checkpoints is closed")

// Open makes the folder if there is none, and locks it. It fails if another process has it.
func Open(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("checkpoints in %s: another process has them: end it, or want a folder for each", dir)
		}
		return nil, fmt.Errorf("checkpoints in %s: %w", dir, err)
	}
	s := &Store{dir: dir, lock: lock, keys: make(map[string]*key)}
	left, _ := filepath.Glob(filepath.Join(dir, "*"+temporary)) // Of a process that was killed.
	for _, name := range left {
		if err := os.Remove(name); err != nil {
			lock.Close()
			return nil, err
		}
	}
	return s, nil
}

// Close implements [checkpoint.Store]: it waits for saves that are on their way, and gives up the folder.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	for _, k := range s.keys {
		k.mu.Lock()
		k.closed = true
		k.mu.Unlock()
	}
	return s.lock.Close()
}

// hold returns a key, locked.
func (s *Store) hold(name string, make bool) (*key, error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, errClosed
	}
	k := s.keys[name]
	if k == nil {
		k = new(key)
		if make {
			s.keys[name] = k
		}
	}
	s.mu.Unlock()
	k.mu.Lock()
	if k.closed { // Meanwhile.
		k.mu.Unlock()
		return nil, errClosed
	}
	return k, nil
}

// Load implements [checkpoint.Store].
func (s *Store) Load(ctx context.Context, name string) ([]byte, int64, error) {
	if err := errors.Join(ctx.Err(), checkpoint.Check(name, nil)); err != nil {
		return nil, 0, err
	}
	k, err := s.hold(name, true)
	if err != nil {
		return nil, 0, err
	}
	defer k.mu.Unlock()
	state, epoch, err := s.read(name)
	if err != nil {
		return nil, 0, err
	}
	epoch = max(epoch, k.epoch) + 1
	if err := s.write(name, epoch, state); err != nil {
		return nil, 0, err
	}
	k.epoch = epoch
	return state, epoch, nil
}

// Save implements [checkpoint.Store].
func (s *Store) Save(ctx context.Context, name string, epoch int64, state []byte) error {
	if err := errors.Join(ctx.Err(), checkpoint.Check(name, state)); err != nil {
		return err
	}
	k, err := s.hold(name, false)
	if err != nil {
		return err
	}
	defer k.mu.Unlock()
	if k.epoch != epoch || epoch == 0 {
		return checkpoint.ErrFenced
	}
	if state == nil {
		state = []byte{}
	}
	return s.write(name, epoch, state)
}

// A file is the magic, then the epoch, whether there is a state, its length and, over all of these and the
// state, a CRC-32C, all little-endian; then the state.
const (
	magic = "tickckp1"
	head  = len(magic) + 8 + 1 + 4 + 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (s *Store) path(name string) string { return filepath.Join(s.dir, name+suffix) }

func (s *Store) read(name string) (state []byte, epoch int64, err error) {
	f, err := os.Open(s.path(name))
	if errors.Is(err, os.ErrNotExist) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, int64(head+checkpoint.StateMax+1)))
	if err != nil {
		return nil, 0, err
	}
	bad := func(why string) ([]byte, int64, error) {
		return nil, 0, fmt.Errorf("checkpoint %s is damaged (%s): restore it, or move it away to begin anew", s.path(name), why)
	}
	if len(b) < head || !strings.HasPrefix(string(b[:len(magic)]), magic) {
		return bad("it does not begin as one")
	}
	h, state := b[:head-4], b[head:]
	epoch = int64(binary.LittleEndian.Uint64(h[len(magic):]))
	has, n := h[len(magic)+8], binary.LittleEndian.Uint32(h[len(magic)+9:])
	if int(n) != len(state) {
		return bad(fmt.Sprintf("it has %d bytes, want %d", len(state), n))
	}
	if sum(h, state) != binary.LittleEndian.Uint32(b[head-4:head]) {
		return bad("its checksum is wrong")
	}
	if has == 0 {
		return nil, epoch, nil
	}
	return state, epoch, nil
}

func sum(h, state []byte) uint32 {
	return crc32.Update(crc32.Checksum(h, castagnoli), castagnoli, state)
}

// write replaces a file, so that after a crash it is there as it was or as it is to be.
func (s *Store) write(name string, epoch int64, state []byte) (err error) {
	h := append(make([]byte, 0, head), magic...)
	h = binary.LittleEndian.AppendUint64(h, uint64(epoch))
	h = append(h, 0)
	if state != nil {
		h[len(h)-1] = 1
	}
	h = binary.LittleEndian.AppendUint32(h, uint32(len(state)))
	h = binary.LittleEndian.AppendUint32(h, sum(h, state))
	temp := s.path(name) + temporary
	f, err := os.OpenFile(temp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err1 := f.Write(h)
	_, err2 := f.Write(state)
	if err := errors.Join(err1, err2, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(temp, s.path(name)); err != nil {
		return err
	}
	d, err := os.Open(s.dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
