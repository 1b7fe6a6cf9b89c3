// SPDX-License-Identifier: Apache-2.0

package topics

import (
	"math/rand/v2"
	"testing"
)

// Operations of a program, see program.step. An argument below programNames is a
// topic; each further multiple of it is the next value.
const (
	opAcquire = 0
	opRelease = 2
	opPublish = 4
	opMark    = 5
	opRepair  = 6
	opWait    = 7
	opSweep   = 8
	opChanges = 9
	opWatch   = 10
	opSetFeed = 11

	opReleaseWithdrawn = 12
	opAbsent           = 13

	changesAll = 0 // Arguments of opChanges.
	changesOne = 1

	nextAsker = programNames // To an argument of acquire.

	nextVersion = 3 * programNames // To an argument of publish and repair; below it there is none.

	waitLinger = 64
	seedLimit  = 8 // The maximum of topics that the seeds about it have in mind.
)

// seeds are programs that each tell one story.
var seeds = map[string][]byte{
	"a topic comes, ticks and goes": {
		opAcquire, 0, opChanges, 0, opPublish, 0, opPublish, 13, opRelease, 0, opWait, waitLinger, opSweep, 0,
		opChanges, 0, opPublish, 0,
	},
	"taken back in the linger": {
		opAcquire, 0, opChanges, 0, opRelease, 0, opWait, waitLinger / 2, opSweep, 0, opAcquire, 0,
		opWait, waitLinger, opSweep, 0, opChanges, 0,
	},
	"taken back while dropping": {
		opAcquire, 0, opPublish, 0, opChanges, 0, opRelease, 0, opWait, waitLinger, opSweep, 0, opAcquire, 0,
		opChanges, 0, opRelease, 0, opWait, waitLinger, opSweep, 0, opChanges, 0,
	},
	"taken back after the drop": {
		opAcquire, 0, opPublish, 0, opChanges, 0, opRelease, 0, opWait, waitLinger, opSweep, 0, opChanges, 0,
		opAcquire, 0, opPublish, 13, opChanges, 0,
	},
	"came and went unheard": {
		opAcquire, 0, opRelease, 0, opWait, waitLinger, opSweep, 0, opAcquire, 0, opRelease, 0, opWait, waitLinger,
		opSweep, 0, opChanges, 0,
	},
	"flapping beside another": {
		opAcquire, 0, opAcquire, 1, opRelease, 0, opAcquire, 0, opWait, 8, opRelease, 0, opWait, 8, opRelease, 1,
		opWait, waitLinger - 16, opSweep, 0, opChanges, 0, opWait, 8, opSweep, 0, opChanges, 0,
	},
	"full": {
		opAcquire, 0, opAcquire, 1, opAcquire, 2, opAcquire, 3, opAcquire, 4, opAcquire, 5, opAcquire, 6, opAcquire, 7,
		opAcquire, 8, opRelease, 3, opChanges, 0, opAcquire, 8, opAcquire, 8, opChanges, 0, opAcquire, 8, opPublish, 8,
	},
	"pressure": {
		opAcquire, 0, opAcquire, 1, opAcquire, 2, opAcquire, 3, opAcquire, 4, opAcquire, 5, opAcquire, 6, opRelease, 2,
		opSweep, 0, opChanges, 0, opAcquire, 7, opSweep, 0, opAcquire, 2, opRelease, 4, opSweep, 0, opChanges, 0,
	},
	"topics without a row give way": {
		opAcquire, 0, opAcquire, 1, opAcquire, 2, opAcquire, 3, opAcquire, 4, opAcquire, 5, opPublish, 0, opPublish, 1,
		opChanges, changesAll, opAbsent, 2, opRelease, 1, opAcquire, nextAsker + 6, opAcquire, nextAsker + 7,
		opAcquire, nextAsker + 8, opAcquire, nextAsker + 9, opAcquire, nextAsker + 10, opAcquire, nextAsker + 11,
		opChanges, changesAll, opAcquire, 2, opPublish, 2, opReleaseWithdrawn, 0, opReleaseWithdrawn, 0, opChanges, changesOne,
		opChanges, changesAll, opSweep, 0,
	},
	"two who ask take turns": {
		opAcquire, 0, opAcquire, 1, opAcquire, 2, opAcquire, 3, opAcquire, nextAsker + 4, opAcquire, nextAsker + 5,
		opChanges, changesOne, opAcquire, 2*nextAsker + 6, opPublish, 3, opChanges, changesOne, opChanges, changesOne,
		opRelease, 2, opChanges, changesAll,
	},
	"repairs": {
		opAcquire, 0, opMark, 0, opRepair, 0, opRepair, 13, opMark, 0, opRepair, 0, opRepair, 13, opMark, 0,
		opPublish, 25, opRepair, 0,
	},
	"versions": {
		opAcquire, 0, opPublish, 2 * nextVersion, opPublish, nextVersion, opPublish, 2 * nextVersion, opPublish, 2*nextVersion + 12,
		opMark, 0, opRepair, nextVersion, opRepair, 3 * nextVersion, opPublish, 0, opPublish, nextVersion,
	},
	"stale and fresh again": {
		opSetFeed, 1, opAcquire, 0, opAcquire, 1, opWatch, 0, opPublish, 0, opWait, waitLinger/2 + 1, opWatch, 0, opPublish, 0,
		opWatch, 0, opMark, 1, opRepair, 1, opSetFeed, 0, opWait, waitLinger, opWatch, 0, opWatch, 0, opRelease, 0,
		opWait, waitLinger, opSweep, 0, opChanges, 0, opAcquire, 0, opWatch, 0,
	},
	"a mark of a former time": {
		opAcquire, 0, opPublish, 0, opMark, 0, opRelease, 0, opWait, waitLinger, opSweep, 0, opChanges, 0,
		opAcquire, 0, opRepair, 12, opMark, 0, opRepair, 12,
	},
}

func TestSeedPrograms(t *testing.T) {
	for name, code := range seeds {
		t.Run(name, func(t *testing.T) {
			for limit := 1; limit <= programMaxLimit; limit++ {
				runProgram(t, limit, code)
			}
		})
	}
}

// Longer programs than a fuzzer likes to write.
func TestRandomPrograms(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for range 100 {
		code := make([]byte, 2*500)
		for i := range code {
			code[i] = byte(random.Uint32())
		}
		for i := 0; i < len(code); i += 2 {
			if code[i]%programOps == opWait {
				code[i+1] /= 16 // Short waits, so that not all lingers end at once.
			}
		}
		runProgram(t, 1+random.IntN(programMaxLimit), code)
	}
}

func FuzzTable(f *testing.F) {
	for _, code := range seeds {
		f.Add(byte(seedLimit-1), code)
		f.Add(byte(programMaxLimit-1), code)
	}
	f.Fuzz(func(t *testing.T, limit byte, code []byte) {
		if len(code) > 4096 {
			code = code[:4096]
		}
		runProgram(t, 1+int(limit)%programMaxLimit, code)
	})
}
