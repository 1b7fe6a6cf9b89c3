// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"math/rand/v2"
	"testing"
	"time"
)

// Operations of a program, see program.step.
const (
	opJoin        = 0
	opSubscribe   = 2
	opUnsubscribe = 5
	opPublish     = 6
	opRepair      = 9
	opWait        = 10
	opStall       = 13
	opBlock       = 14
	opDrained     = 15
	opLeave       = 17
	opInterval    = 18
	opSweep       = 19
	opWatch       = 20
	opSetFeed     = 21
	opFlood       = 22
	opOthers      = 23
	opChanges     = 24

	joinOpen  = 1 // With the default window.
	blockFail = 0
	blockNext = 1
	blockNow  = 2
	blockSlow = 3 // 200 bytes a second, and 200 more for each 16 of the argument.
	leaveNow  = 3
	drainAll  = 255
)

// programs each tell one story.
var programs = map[string][]byte{
	"snapshot, update, gone": {
		opJoin, 0, joinOpen, opPublish, 0, 0, opSubscribe, 0, 0, opPublish, 0, 0, opWait, 0, 63, opWait, 0, 63,
		opPublish, 0, 0, opLeave, 0, leaveNow,
	},
	"a backlog while topics are subscribed": {
		opJoin, 0, joinOpen, opSubscribe, 0, 3, opWait, 0, 63, opBlock, 0, blockNow, opPublish, 0, 0, opSubscribe, 0, 4,
		opPublish, 1, 0, opStall, 0, 40, opDrained, 0, 0, opWait, 0, 63, opWait, 0, 63,
	},
	"a fetched value between two snapshots": {
		opJoin, 0, joinOpen, opPublish, 0, 0, opSubscribe, 0, 0, opSubscribe, 0, 20, opRepair, 5, 0, opPublish, 0, 0,
		opWait, 0, 12, opPublish, 5, 0, opUnsubscribe, 0, 20, opSubscribe, 0, 20, opWait, 0, 63,
	},
	"ids that come back": {
		opJoin, 0, joinOpen, opJoin, 0, joinOpen, opSubscribe, 0, 20, opPublish, 5, 0, opLeave, 0, leaveNow, opStall, 0, 255,
		opStall, 0, 255, opStall, 0, 255, opSweep, 0, 0, opJoin, 0, joinOpen, opSubscribe, 0, 24, opPublish, 6, 0, opWait, 0, 63,
	},
	"a write fails": {
		opJoin, 0, joinOpen, opJoin, 0, joinOpen, opSubscribe, 0, 0, opSubscribe, 1, 0, opBlock, 0, blockFail, opPublish, 0, 0,
		opStall, 0, 100, opJoin, 0, joinOpen, opSubscribe, 1, 0, opWait, 0, 63,
	},
	"slowed down and recovered": {
		opJoin, 0, joinOpen, opSubscribe, 0, 0, opBlock, 0, blockNow, opWait, 0, 63, opWait, 0, 63, opWait, 0, 63, opWait, 0, 63,
		opDrained, 0, 0, opPublish, 0, 0, opStall, 0, 100, opWait, 0, 63, opPublish, 0, 0, opInterval, 0, 0, opWait, 0, 63,
		opBlock, 0, blockNow, opWait, 0, 63, opWait, 0, 63, opDrained, 0, 0, opStall, 0, 100,
	},
	"slow to the end": {
		opJoin, 0, joinOpen, opSubscribe, 0, 0, opBlock, 0, blockNow, opStall, 0, 100, opStall, 0, 100, opStall, 0, 100,
		opWait, 0, 63, opWait, 0, 63, opWait, 0, 63, opWait, 0, 63,
	},
	"too many commands": {
		opJoin, 0, joinOpen, opFlood, 0, 10, opSubscribe, 0, 0, opInterval, 0, 3, opFlood, 0, 15, opWait, 0, 63, opStall, 0, 255,
		opFlood, 0, 9, opSubscribe, 0, 0, opFlood, 0, 31,
	},
	"too many topics": {
		opJoin, 0, joinOpen, opSubscribe, 0, 3, opUnsubscribe, 0, 3, opSubscribe, 0, 7, opWait, 0, 63, opUnsubscribe, 0, 7,
		opSubscribe, 0, 3, opStall, 0, 100, opSubscribe, 0, 3,
	},
	"feeds that come and go": {
		opSetFeed, 0, 0, opJoin, 0, joinOpen, opSetFeed, 1, 0, opWait, 0, 63, opWait, 0, 63, opWait, 0, 63, opSetFeed, 0, 1,
		opJoin, 0, joinOpen, opWait, 0, 63, opWait, 0, 63, opBlock, 0, blockNow, opSetFeed, 1, 1, opWait, 0, 63, opWait, 0, 63,
		opSetFeed, 1, 0, opDrained, 0, 0, opStall, 0, 100,
	},
	"stale and fresh again": {
		opJoin, 0, joinOpen, opPublish, 0, 0, opSubscribe, 0, 0, opStall, 0, 120, opWatch, 0, 0, opWait, 0, 63, opWait, 0, 63,
		opJoin, 0, joinOpen, opSubscribe, 1, 0, opPublish, 0, 0, opStall, 0, 120, opWatch, 0, 0, opPublish, 0, 0, opWait, 0, 63,
		opWait, 0, 63, opStall, 0, 120, opBlock, 0, blockNow, opWatch, 0, 0, opStall, 0, 70, opDrained, 0, 0, opStall, 0, 70,
	},
	"stale without ever a row": {
		opJoin, 0, joinOpen, opSubscribe, 0, 0, opWatch, 0, 0, opStall, 0, 120, opWatch, 0, 0, opWait, 0, 63, opJoin, 0, joinOpen,
		opSubscribe, 1, 0, opStall, 0, 70, opRepair, 0, 0, opStall, 0, 70,
	},
	"topics that are taken away": {
		opJoin, 0, joinOpen, opJoin, 0, joinOpen, opSubscribe, 0, 19, opSubscribe, 1, 20, opChanges, 0, 4, opOthers, 0, 1, opOthers, 1, 1,
		opOthers, 2, 4, opOthers, 3, 4, opWait, 0, 63, opSubscribe, 0, 19, opChanges, 0, 4, opWait, 0, 63, opWait, 0, 63, opWait, 0, 63,
		opBlock, 1, blockNow, opOthers, 0, 1, opOthers, 0, 1, opChanges, 0, 4, opWait, 0, 63, opDrained, 1, 0, opStall, 0, 100,
	},
	"snapshots and updates in pieces": {
		opJoin, 0, joinOpen, opPublish, 0, 0, opPublish, 1, 0, opPublish, 2, 0, opPublish, 3, 0, opSubscribe, 0, 3, opSubscribe, 0, 7,
		opWait, 0, 2, opPublish, 0, 0, opSubscribe, 0, 11, opWait, 0, 1, opWait, 0, 1, opPublish, 1, 0, opPublish, 2, 0, opPublish, 3, 0,
		opWait, 0, 63, opWait, 0, 35, opPublish, 0, 0, opWait, 0, 1, opPublish, 3, 0, opUnsubscribe, 0, 0, opWait, 0, 1, opSubscribe, 0, 0,
		opWait, 0, 63, opWait, 0, 63, opSetFeed, 0, 1, opStall, 0, 120, opWatch, 0, 0, opWait, 0, 1, opWait, 0, 1, opWait, 0, 63,
	},
	"slow but steady": {
		opJoin, 0, joinOpen, opSubscribe, 0, 3, opSubscribe, 0, 7, opSubscribe, 0, 11, opBlock, 0, blockSlow,
		opPublish, 0, 0, opPublish, 1, 0, opPublish, 2, 0, opPublish, 3, 0, opStall, 0, 50, opPublish, 0, 0, opWait, 0, 63, opPublish, 1, 0,
		opSetFeed, 1, 1, opWait, 0, 63, opUnsubscribe, 0, 3, opWait, 0, 63, opSetFeed, 1, 0, opWatch, 0, 0, opStall, 0, 100, opPublish, 2, 0,
		opStall, 0, 50, opWait, 0, 63, opPublish, 3, 0, opWait, 0, 63, opBlock, 0, blockNow, opStall, 0, 200,
	},
	"a drain": {
		opJoin, 0, joinOpen, opJoin, 0, 0, opJoin, 0, joinOpen, opSubscribe, 0, 3, opInterval, 1, 5, opSweep, 0, drainAll,
		opStall, 0, 128, opBlock, 0, blockNext, opStall, 0, 255,
	},
}

func TestPrograms(t *testing.T) {
	for name, code := range programs {
		t.Run(name, func(t *testing.T) {
			for range 4 { // With ticks that wrap, and with small pieces.
				runProgram(t, code)
				code = append(code[:len(code):len(code)], 0)
			}
		})
	}
}

// Longer programs than a fuzzer likes to write.
func TestRandomPrograms(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for i := range 12 {
		code := make([]byte, programStep*400+i%4)
		for j := range code {
			code[j] = byte(random.Uint32())
		}
		for j := 0; j+2 < len(code); j += programStep {
			switch {
			case code[j]%programOps == opStall && random.IntN(4) > 0:
				code[j] = opWait // Most waits are short.
			case code[j]%programOps == opSweep && j < len(code)/2:
				code[j+2] = 0 // No drain in the first half.
			}
		}
		runProgram(t, code)
	}
}

func FuzzShard(f *testing.F) {
	for _, code := range programs {
		f.Add(code)
	}
	f.Fuzz(func(t *testing.T, code []byte) {
		if len(code) > 3000 {
			code = code[:3000]
		}
		runProgram(t, code)
	})
}
