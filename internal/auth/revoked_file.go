// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"log/slog"
	"os"
	"time"
)

const (
	// revokedLook is how often the file is looked at.
	revokedLook = 250 * time.Millisecond
	// A file may be written twice in one tick of its clock, so one that was read so soon behind its time is read again, and any
	// is now and then: there are file systems whose times stand still.
	revokedRacy   = 2 * time.Second
	revokedReread = time.Minute
)

// lastFile is the file as it was read last.
type lastFile struct {
	info os.FileInfo // Nil before the first time, and if it could not be opened.
	at   time.Time
	sum  uint64 // Of what it said.
	err  error  // What is wrong with it.
}

// same reports whether the file need not be read.
func (f *lastFile) same(info os.FileInfo, now time.Time) bool {
	return f.info != nil && os.SameFile(f.info, info) && f.info.Size() == info.Size() && f.info.ModTime().Equal(info.ModTime()) &&
		f.at.Sub(info.ModTime()).Abs() > revokedRacy && now.Sub(f.at) < revokedReread
}

// ReadFile reads the list of a file if that has changed. told is false if the error, or that there is none, is what it was the last
// time, of the same text. After an error the list stays.
func (r *Revocations) ReadFile(path string, now time.Time) (told bool, err error) {
	r.reading.Lock()
	defer r.reading.Unlock()
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("it is no file")
	}
	if err == nil && r.file.same(info, now) {
		return false, r.file.err
	}
	if err != nil {
		return r.fileFailed(lastFile{err: err})
	}
	list, last, err := r.readRevoked(path, now)
	if err != nil {
		return r.fileFailed(last)
	}
	old := r.file
	r.file = last
	r.SetCurrent(RevokedFile, true)
	if old.info != nil && old.err == nil && old.sum == last.sum {
		return false, nil
	}
	r.set(RevokedFile, list)
	return true, nil
}

// fileFailed keeps the list, and the error.
func (r *Revocations) fileFailed(last lastFile) (told bool, err error) {
	r.SetCurrent(RevokedFile, false)
	told = r.file.err == nil || r.file.sum != last.sum || r.file.err.Error() != last.err.Error()
	r.file = last
	return told, last.err
}

// readRevoked reads and parses the file.
func (r *Revocations) readRevoked(path string, now time.Time) (list *revokedList, last lastFile, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, lastFile{err: err}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, lastFile{err: err}, err
	}
	var sum maphash.Hash
	sum.SetSeed(r.seeds[0])
	from := io.TeeReader(f, &sum)
	if list, err = r.parseLines(from); err != nil {
		// The rest counts too when it is told whether the file says something else.
		_, _ = io.Copy(io.Discard, io.LimitReader(from, revokedBytesMax))
	}
	return list, lastFile{info: info, at: now, sum: sum.Sum64(), err: err}, err
}

// CheckRevokedFile returns what is wrong with a file.
func CheckRevokedFile(path string) error {
	_, err := NewRevocations().ReadFile(path, time.Now())
	return err
}

// WatchFile reads the file whenever it changes, until ctx ends.
func (r *Revocations) WatchFile(ctx context.Context, path string, log *slog.Logger) {
	look := time.NewTicker(revokedLook)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-look.C:
			r.lookAt(path, now, log)
		}
	}
}

func (r *Revocations) lookAt(path string, now time.Time, log *slog.Logger) {
	told, err := r.ReadFile(path, now)
	switch {
	case !told:
	case err != nil:
		log.Error("the file of revoked tokens can't be taken: the list that was read before it stays", "file", path, "error", err,
			"hint", "put it right; write another file and rename it, so that none is read that is half written")
	default:
		ids, users := r.Entries(RevokedFile)
		log.Info("the file of revoked tokens was read", "file", path, "jti", ids, "sub", users)
	}
}

// TakeValue takes the list of a topic. After an error the one before stays.
func (r *Revocations) TakeValue(value string) error {
	list, err := r.parseValue(value)
	if err != nil {
		return fmt.Errorf("the value is no list of revoked tokens: %w", err)
	}
	r.set(RevokedTopic, list)
	return nil
}
