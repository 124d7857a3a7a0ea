/**
 * What kin promises, one sentence each, with where the promise was made. `test/requirements.test.ts` fails on a promise that no
 * test cites (by its id as a word of the test's name) or that has no fault in `test/faults.ts` which turns such a test red.
 * Ids of the design's rules (F, R), attacks (A, B, L, …) and promises (P) are kept; the others are words.
 */
export interface Requirement {
  id: string;
  sentence: string;
  /** Where it was promised: "RULES R3", "ATTACKS A15", "issue 3 part 9", "DESIGN §5". */
  source: string;
}

export const REQUIREMENTS: readonly Requirement[] = [
  {
    id: "architecture",
    source: "issue 3 part 1",
    sentence: "An import that breaks the table of the house fails the tests.",
  },
  {
    id: "requirements",
    source: "issue 3 part 1",
    sentence: "Every promise is cited by a test and has a fault that turns such a test red.",
  },
  {
    id: "bench-figures",
    source: "issue 3 figures",
    sentence: "A bench prints a table with units, or one object with machine, commit and rows.",
  },
  {
    id: "interop-go",
    source: "issue 3 part 5",
    sentence: "go-libp2p and kin talk to each other over TCP and WebSocket, with TLS and Noise, in one DHT.",
  },
  {
    id: "interop-successors",
    source: "issue 3 part 5",
    sentence: "The noise and yamux packages in use interoperate with those that succeed them.",
  },
  {
    id: "F1",
    source: "RULES F1",
    sentence: "Bytes are canonical: any bytes either decode to what encodes back to them or are refused.",
  },
  {
    id: "F4",
    source: "RULES F4",
    sentence: "A run of events is proved by its prev links and the one signature of its head.",
  },
  { id: "F5", source: "RULES F5", sentence: "A sealed body opens in no other mesh and under no other header." },
  {
    id: "export-proves",
    source: "issue 4 part 10",
    sentence: "An export proves who is in the mesh and each log up to a signed head to whoever has only the mesh id.",
  },
  {
    id: "export-opens",
    source: "issue 4 part 10",
    sentence:
      "An export shows only what it is asked to: a direct body by its own key, a mesh body on its maker's word, an epoch's key never.",
  },
  {
    id: "export-note-key",
    source: "issue 4 part 10",
    sentence: "An event that holds the key of a private note is never opened in an export, and no verifier takes one.",
  },
  {
    id: "export-call",
    source: "issue 4 part 10",
    sentence: "An exported call is proved by the seals of who asked and who answered.",
  },
  {
    id: "export-receipt",
    source: "issue 4 part 10",
    sentence: "A receipt for another request, or for somebody who did not ask, proves nothing.",
  },
  {
    id: "export-cut",
    source: "RULES R5",
    sentence:
      "An exported event of a removed member comes with the chain that shows whether it was written before the removal.",
  },
  {
    id: "export-audit",
    source: "ATTACKS P24",
    sentence:
      "The audit leaves the machine on purpose only, and cut, rewritten or left out it is found by what peers witnessed.",
  },
  {
    id: "audit-own-witness",
    source: "ATTACKS P24",
    sentence:
      "Only its owner's device witnesses an audit: what others say of it hides no cut, and makes no honest export fail.",
  },
  {
    id: "export-tampered",
    source: "issue 4 part 10",
    sentence: "kin verify finds each bent export and says what is wrong with it.",
  },
  {
    id: "export-words",
    source: "issue 4 part 10",
    sentence: "kin export says what is in the file, and what of it an outsider can read.",
  },
  {
    id: "export-folder",
    source: "issue 4 part 10",
    sentence: "Where kin export can't write its file, the error names the folder and why.",
  },
  {
    id: "verify-words",
    source: "issue 4 part 10",
    sentence: "kin verify needs no node, no keys and no network, and says what is proven, by whom, and what is not.",
  },
  {
    id: "verify-fails",
    source: "issue 4 part 10",
    sentence: "kin verify ends with 1 and names what is wrong with a file and where.",
  },
  {
    id: "verify-unreadable",
    source: "issue 4 part 10",
    sentence: "A file that kin verify can't read is a usage error (2), never one that is not proven (1).",
  },
  {
    id: "export-nodes",
    source: "issue 4 part 10",
    sentence: "kin export of real nodes is proved by kin verify without a node, and by the Python program.",
  },
  {
    id: "independent",
    source: "issue 4 part 10",
    sentence: "A verifier in Python, written from the protocol page, proves the same of an export as kin does.",
  },
  {
    id: "independent-tampered",
    source: "issue 4 part 10",
    sentence: "The Python verifier finds each bent export.",
  },
  {
    id: "log-allowed",
    source: "RULES R2",
    sentence: "After a fork a device's person lets its logs count once, for that device alone; then it takes an admin.",
  },
  { id: "R2", source: "RULES R2", sentence: "Another incarnation of a device is another log." },
  { id: "R6", source: "RULES R6", sentence: "A mesh body opens under no other epoch and with no other key." },
  {
    id: "R7",
    source: "RULES R7",
    sentence: "A direct body that is copied into another author's event, or to other recipients, is refused.",
  },
  {
    id: "R9",
    source: "RULES R9",
    sentence: "The here chain is a log of its own, and the mesh chain takes nothing of it.",
  },
  { id: "R10", source: "RULES R10", sentence: "A ticket carries at most three addresses, the best ones first." },
  {
    id: "R13",
    source: "RULES R13",
    sentence: "A stamp more than five minutes ahead is held and moves nothing; stamps rise above prev and deps.",
  },
  {
    id: "R15",
    source: "RULES R15",
    sentence: "Only signatures and keys with one meaning everywhere are good: no torsion part, no foreign form.",
  },
  { id: "R18", source: "RULES R18", sentence: "A Merkle path proves its own message and no other of the batch." },
  { id: "A1", source: "ATTACKS A1", sentence: "A valid envelope, head or body with any byte changed is refused." },
  { id: "A3", source: "ATTACKS A3", sentence: "A signature under another domain is refused." },
  { id: "A4", source: "ATTACKS A4", sentence: "A signature of another kind of message is refused." },
  { id: "A5", source: "ATTACKS A5", sentence: "A key that is not the claimed author's is refused." },
  { id: "A6", source: "ATTACKS A6", sentence: "Keys of small order are not admitted." },
  { id: "A12", source: "ATTACKS A12", sentence: "An envelope that expired, by a millisecond or a year, is refused." },
  { id: "A13", source: "ATTACKS A13", sentence: "An envelope from the future beyond the clock's bound is refused." },
  { id: "A14", source: "ATTACKS A14", sentence: "An envelope that would live longer than ten minutes is refused." },
  { id: "A21", source: "ATTACKS A21", sentence: "An envelope of an unknown version is refused, not guessed." },
  { id: "A22", source: "ATTACKS A22", sentence: "An envelope with an unknown field is refused." },
  { id: "A24", source: "ATTACKS A24", sentence: "A body that does not match its hash is refused." },
  { id: "A26", source: "ATTACKS A26", sentence: "An envelope over its size limit is refused before it is decoded." },
  { id: "B1", source: "ATTACKS B1", sentence: "Unsorted map keys are refused." },
  { id: "B5", source: "ATTACKS B5", sentence: "Floats are refused." },
  { id: "B12", source: "ATTACKS B12", sentence: "Nesting beyond the limit is refused without recursion." },
  { id: "B14", source: "ATTACKS B14", sentence: "A map or array with too many items is refused." },
  { id: "B15", source: "ATTACKS B15", sentence: "Keys that reach into JavaScript's prototypes are refused." },
  { id: "B20", source: "ATTACKS B20", sentence: "A frame length that is too long or not minimal is refused." },
  { id: "C4", source: "ATTACKS C4", sentence: "A gap in a log's sequence is refused." },
  { id: "C5", source: "ATTACKS C5", sentence: "An event that follows another log's event is refused." },
  { id: "C13", source: "ATTACKS C13", sentence: "A full counter gives the next millisecond and never waits." },
  { id: "C14", source: "ATTACKS C14", sentence: "A stamp that does not rise inside its log is refused." },
  { id: "C15", source: "ATTACKS C15", sentence: "A wall clock that jumps never makes our stamps go back." },
  { id: "P9", source: "ATTACKS P9", sentence: "A bad clock hurts only its owner: ours moves by five minutes at most." },
  {
    id: "forks-agree",
    source: "ATTACKS P8",
    sentence:
      "Every log that was written twice is found, all nodes compute the same last event that its histories share, and none is seen where there was none.",
  },
  {
    id: "fork-witness",
    source: "RULES R2",
    sentence:
      "After a fork, what another device's event had built on counts, on every history; the rest waits in quarantine.",
  },
  { id: "fork-views", source: "RULES R2", sentence: "A view folds every history of a forked log, each entry once." },
  {
    id: "fork-reissue",
    source: "RULES R2",
    sentence: "The owner of a forked log says again in a new one what had no effect, once.",
  },
  {
    id: "reissue-once",
    source: "RULES R2",
    sentence: "What was said again steps back where the first saying turns out to count: nothing counts twice.",
  },
  {
    id: "fork-way-back",
    source: "RULES R2",
    sentence: "The person's key lets a forked device's new log count once; the second time it takes an admin.",
  },
  { id: "open-logs", source: "RULES R2", sentence: "A device has at most 16 open logs." },
  {
    id: "reissue-removed",
    source: "RULES R5",
    sentence: "What a removed member wrote after his cut is said again by an admin, and by nobody else.",
  },
  {
    id: "damage-mended",
    source: "ATTACKS P18",
    sentence: "Damage on the disk is left out, told in words and mended from peers, while everything else goes on.",
  },
  {
    id: "skew-liars",
    source: "RULES R13",
    sentence: "No single peer and no minority of the connected people can make a node think that its clock is off.",
  },
  {
    id: "skew-refused",
    source: "RULES R13",
    sentence:
      "With a clock that is over five minutes off, as the connected people say, nothing is signed for the mesh.",
  },
  {
    id: "own-ahead",
    source: "RULES R13",
    sentence:
      "Whose own stamps lie ahead ends that log when his clock is right again, and says the held entries once more with right stamps.",
  },
  {
    id: "due-away",
    source: "RULES R13",
    sentence: "A view that was away while a held event came due begins anew: what said it again steps back there too.",
  },
  {
    id: "snapshot-again",
    source: "RULES R13, R16",
    sentence: "A fact that is said again takes the place of its first saying also where a snapshot had that.",
  },
  {
    id: "held-again",
    source: "RULES R13",
    sentence: "What counted before the clock was set back, and is held again, is told when it is due.",
  },
  {
    id: "marker-late",
    source: "RULES R2",
    sentence: "What says something again is known as such although the marker's body comes after it.",
  },
  {
    id: "rows-again",
    source: "DESIGN §1",
    sentence: "A disk that takes no rows of what was said again stops no event; they are kept with the next ones.",
  },
  {
    id: "keys-again",
    source: "DESIGN §1",
    sentence: "A key store that takes no key stops no event; the key is kept as soon as it can be.",
  },
  {
    id: "mute-record",
    source: "RULES R11",
    sentence: "A recorded end that nobody is left to sign is told as unknown, never as a refusal.",
  },
  {
    id: "late-joiner",
    source: "RULES R6",
    sentence: "A late joiner reads what the mesh's policy says: all that was written, or nothing from before him.",
  },
  {
    id: "removed-reads-nothing",
    source: "ATTACKS P11",
    sentence:
      "Who was removed holds no key of what is written once his removal is known, whoever rotated or admitted meanwhile.",
  },
  {
    id: "epochs-read-all",
    source: "RULES R6",
    sentence:
      "Under reads-all every living member ends up reading all that counts, whatever rotations, removals and admissions crossed.",
  },
  {
    id: "D8",
    source: "ATTACKS D8",
    sentence: "A peer that dribbles a log keeps it from the others for a minute at most.",
  },
  { id: "K3", source: "ATTACKS K3", sentence: "A full disk fails the append by name and keeps what was acknowledged." },
  { id: "K6", source: "ATTACKS K6", sentence: "A damaged row is an error that names it, never a wrong answer." },
  {
    id: "cut-epoch",
    source: "RULES R6",
    sentence: "What a member wrote under an epoch of somebody who was removed at the same time is read by all members.",
  },
  {
    id: "earlier-waits",
    source: "issue 4 part 6",
    sentence:
      "While an own earlier change of a note, board or setting does not count here, the next is refused with why: written, nobody would take it.",
  },
  {
    id: "since-kinds",
    source: "issue 4 part 1",
    sentence: "A view of some kinds gets all events of these, whatever became of what the file remembers of kinds.",
  },
  {
    id: "damage-repaired",
    source: "issue 4 part 1",
    sentence: "Damaged and missing rows of the log are named, and right ones from elsewhere take their place.",
  },
  {
    id: "damaged-type",
    source: "ATTACKS P18",
    sentence: "A damaged file whose blobs claim to be text is an error, not the end of the process.",
  },
  {
    id: "upgrade-3",
    source: "issue 4 part 9",
    sentence: "A data folder of the first mesh's release opens with all that it had, syncs and answers what waited.",
  },
  { id: "K8", source: "ATTACKS K8", sentence: "A second store on the same file is refused." },
  {
    id: "E17",
    source: "ATTACKS E17",
    sentence: "Link-local addresses that others tell, such as a cloud's metadata service, are never dialled.",
  },
  { id: "E23", source: "ATTACKS E23", sentence: "Names in addresses that others tell are never resolved." },
  {
    id: "R1",
    source: "RULES R1",
    sentence:
      "A person outlives a key; a device counts only if its person's key certified it and another right wrote it in.",
  },
  {
    id: "R3",
    source: "RULES R3",
    sentence:
      "Any set of roster records folds to the same members in every order; mutual and cyclic removals have one result.",
  },
  {
    id: "R4",
    source: "RULES R4",
    sentence:
      "The lower of concurrent roles wins, a back-dated promotion has no effect, and nobody raises his own role.",
  },
  {
    id: "R5",
    source: "RULES R5",
    sentence:
      "A removal cuts history: of concurrent removals the lower cut holds, a log that is not listed is cut at 0.",
  },
  {
    id: "R12",
    source: "RULES R12",
    sentence: "A removed member's name is not given again; equal names are told apart.",
  },
  {
    id: "R14",
    source: "RULES R14",
    sentence:
      "Strangers get identify and join and nothing else; who proves his membership is let in, who was removed is told.",
  },
  { id: "F7", source: "RULES F7", sentence: "A taken name is refused with one that is free." },
  { id: "A15", source: "ATTACKS A15", sentence: "A request, cancel or resume that is sent again is refused." },
  { id: "A16", source: "ATTACKS A16", sentence: "What was sent before a restart is never valid after it." },
  { id: "A17", source: "ATTACKS A17", sentence: "A live request that comes through another peer is refused." },
  {
    id: "A18",
    source: "ATTACKS A18",
    sentence: "A full replay table refuses new work of that person and forgets nothing.",
  },
  {
    id: "R11",
    source: "RULES R11",
    sentence:
      "Only the key that made a request may cancel or resume it; after a restart it is answered from the record or with unknown.",
  },
  {
    id: "R8",
    source: "RULES R8",
    sentence:
      "The same idempotency key runs once, also over a restart; a call with side effects is durable before it runs.",
  },
  {
    id: "P29",
    source: "ATTACKS P29",
    sentence:
      "A callee that is killed after started and before answered says OUTCOME_UNKNOWN, and the effect is there once.",
  },
  {
    id: "killed-at-each-step",
    source: "ATTACKS P29",
    sentence:
      "Caller or callee killed between any two writes of a durable call: what was acknowledged ends with its one result, or with OUTCOME_UNKNOWN where the end was not recorded; a call that only reads ends with its result.",
  },
  {
    id: "three-paths",
    source: "RULES R8",
    sentence:
      "A durable call that comes directly, by carriers and as a live retry runs once, as long as its request lives.",
  },
  {
    id: "ask-shape",
    source: "RULES R8",
    sentence:
      "An ask that is no durable request by the protocol page (boot, re, another audience, another expiry) has no effect.",
  },
  {
    id: "asks-beyond-share",
    source: "RULES R8",
    sentence: "Asks of one person beyond those that a device has before it at once queue and are run in their turn.",
  },
  {
    id: "open-stays",
    source: "RULES R8",
    sentence: "An ask that waits for this device to run it is not put out of memory by later ones.",
  },
  {
    id: "attached-inside",
    source: "RULES F6",
    sentence:
      "Text that is attached, up to 128 KiB, travels inside of the call: it needs nobody online at the same time.",
  },
  {
    id: "only-this-device",
    source: "RULES F7",
    sentence: "A call to ana@laptop/x is run on that device or not at all.",
  },
  {
    id: "one-executor",
    source: "RULES R8",
    sentence:
      "Another device of the person runs a call only after the named one's signed decline, and only the one that it names.",
  },
  {
    id: "handed-to-reader",
    source: "RULES R8",
    sentence:
      "An ask is handed on to a device that can read it; if only one that joined later offers the target, its caller is told to ask again.",
  },
  {
    id: "restored-callee",
    source: "RULES R8",
    sentence:
      "A restored callee runs nothing that lay there before a peer has told it what it had answered; a new incarnation answers unknown.",
  },
  {
    id: "rights-at-execution",
    source: "issue 4 part 5",
    sentence:
      "Membership, share and the agent's own rule are looked at when a durable call runs; the asker learns why it was refused.",
  },
  {
    id: "removed-caller",
    source: "RULES R8",
    sentence: "A member who was removed is told that his unanswered calls are over.",
  },
  {
    id: "answer-to-all-devices",
    source: "RULES R7",
    sentence: "An answer is sealed to all devices that the caller's person has when it is written.",
  },
  {
    id: "late-result",
    source: "issue 4 part 5",
    sentence: "A result that arrives after its call has expired counts all the same.",
  },
  {
    id: "only-the-asker",
    source: "RULES R11",
    sentence: "A queued call is taken back by the device that asked, and by nobody else.",
  },
  {
    id: "cancel-running",
    source: "issue 4 part 5",
    sentence: "A durable call that runs is stopped when it is taken back, and the answer says so.",
  },
  {
    id: "drop-carried",
    source: "issue 4 part 5",
    sentence:
      "A call that others carry or have when it is taken back may have run: dropping it and asking it again say so.",
  },
  {
    id: "held-attachments",
    source: "RULES F6",
    sentence: "What is attached to a durable call is held until it is answered.",
  },
  {
    id: "caller-gone-fetching",
    source: "RULES F6",
    sentence:
      "What is attached to a durable call is fetched before it starts; if its caller goes away meanwhile it waits for him, and is run once.",
  },
  {
    id: "carried",
    source: "issue 4",
    sentence: "A call and its answer travel through a third member who cannot read them.",
  },
  {
    id: "later",
    source: "issue 4",
    sentence: "An ask with --later is queued with a reason although its callee is there.",
  },
  {
    id: "wait-restarts",
    source: "issue 4",
    sentence: "kin wait goes on over restarts of either node and ends when the answer is there.",
  },
  {
    id: "long-times",
    source: "issue 4",
    sentence: "A time of more than 24.8 days is not over at once; a deadline of more than 1 h is a wrong usage.",
  },
  {
    id: "wait-closed",
    source: "issue 4",
    sentence: "An answer that says CLOSED ends kin wait, which says how it is asked again.",
  },
  {
    id: "ask-again",
    source: "issue 4",
    sentence:
      "What ended without a result is asked again only when that is said, as a new call; what still waits is not.",
  },
  {
    id: "ask-again-elsewhere",
    source: "issue 4",
    sentence: "What one device asked is asked again from another one of the same person, and runs.",
  },
  {
    id: "away-soon",
    source: "issue 4",
    sentence:
      "Why a call was queued is one plain sentence, and soon said where a machine refuses or was away a moment ago.",
  },
  {
    id: "sync-backoff",
    source: "issue 4 part 3",
    sentence:
      "A connected device that ends each sync at once is asked ever more seldom, with news every 5 s at most, and soon again after a sync that worked.",
  },
  {
    id: "sync-end",
    source: "issue 4 part 3",
    sentence: "A peer whose frame is refused is told why before the stream ends, and what it sent right stays.",
  },
  {
    id: "own-writes-wait",
    source: "issue 4 part 4; RULES R2",
    sentence:
      "Before a peer was heard since its start a node writes nothing into its log that nobody asked for, so that a restored folder forks nothing by itself.",
  },
  {
    id: "sync-status",
    source: "issue 4",
    sentence: "What each device lacks and since when, and which events do not count here, is said as it stands now.",
  },
  {
    id: "sync-why-own",
    source: "issue 4",
    sentence:
      "kin sync why tells one's own devices from those that cannot read a call, and says why a call to oneself waits.",
  },
  {
    id: "sync-why",
    source: "issue 4",
    sentence: "What a call, an event or a log waits for is said in words.",
  },
  {
    id: "device-add",
    source: "RULES R1",
    sentence:
      "A ticket makes one more machine a device of the person who made it, who certifies it; the person key stays where it is.",
  },
  { id: "J10", source: "ATTACKS J10", sentence: "A loop of agents A→B→A is refused by A." },
  { id: "J11", source: "ATTACKS J11", sentence: "Calls of one person over the bound are refused, others' are not." },
  {
    id: "F10",
    source: "ATTACKS F10",
    sentence: "Twins of a protected name (case, Unicode forms, ignorable characters) are not served.",
  },
  {
    id: "F11",
    source: "ATTACKS F11",
    sentence: "Git's folder, environment files, private keys and ignored files are never served.",
  },
  {
    id: "K10",
    source: "ATTACKS K10",
    sentence: "A key file or folder that others may read is refused, with the command to run.",
  },
  { id: "K12", source: "ATTACKS K12", sentence: "A sealed key that was swapped for another does not open." },
  {
    id: "R17",
    source: "RULES R17",
    sentence: "Agent keys are random per mesh, agent and generation; an ended agent's key never revives.",
  },
  {
    id: "F8",
    source: "RULES F8",
    sentence: "One data folder holds everything; without KIN_HOME its parts lie under the XDG folders.",
  },
  { id: "P15", source: "ATTACKS P15", sentence: "Slow, silent and half-open peers hold neither memory nor places." },
  {
    id: "D11",
    source: "ATTACKS D11",
    sentence: "A peer that closes inside a frame breaks the wire; it is not an end.",
  },
  {
    id: "closing-line",
    source: "issue 3 part 1",
    sentence: "A test run ends with a line `N passed, N failed`, and in CI a test that skips counts as failed.",
  },
  {
    id: "group-A",
    source: "issue 3 part 4",
    sentence: "Every case of attack group A, envelope and crypto, is a test.",
  },
  { id: "group-B", source: "issue 3 part 4", sentence: "Every case of attack group B, encoding, is a test." },
  {
    id: "group-L",
    source: "issue 3 part 4",
    sentence: "Every case of attack group L, membership and invite, is a test.",
  },
  {
    id: "group-F",
    source: "issue 3 part 9",
    sentence: "Every case of attack group F about files and git (F1–F16) is a test.",
  },
  {
    id: "passphrase-scrypt",
    source: "issue 3 part 2",
    sentence:
      "With a passphrase the keys are sealed under scrypt N=2^17 r=8 p=1 and AES-256-GCM, and nothing weaker is believed.",
  },
  {
    id: "passphrase-pipe",
    source: "issue 3 part 2",
    sentence: "A passphrase travels by pipe, never by argument or environment.",
  },
  {
    id: "doctor-lines",
    source: "issue 3 part 2",
    sentence: "`kin doctor` says line by line what is wrong, and that keys without a passphrase lie open.",
  },
  {
    id: "one-folder-one-node",
    source: "issue 3 part 2",
    sentence: "A second node on one data folder is refused with the process id of the first.",
  },
  {
    id: "L7",
    source: "ATTACKS L7",
    sentence: "A guest takes only an admission by his own ticket that the mesh's own fold holds.",
  },
  {
    id: "remove-everywhere",
    source: "issue 3 part 3",
    sentence: "`kin remove` cuts a member off at every node and opens the new epoch in the same act.",
  },
  {
    id: "join-failure",
    source: "issue 3 part 3",
    sentence: "A join that fails says per address what happened: timed out, refused, or another peer.",
  },
  {
    id: "bad-tickets",
    source: "issue 3 part 3",
    sentence: "What isn't a ticket, is damaged, expired (with both clocks) or my own is said before any dial.",
  },
  {
    id: "ticket-addresses",
    source: "issue 3 part 3",
    sentence:
      "A ticket names the default route's interface, other LANs, global IPv6; loopback only if nothing else; never container bridges.",
  },
  { id: "port-kept", source: "issue 3 part 3", sentence: "The port is chosen once and kept." },
  {
    id: "already-in-mesh",
    source: "RULES F8",
    sentence:
      "Joining where the mesh has others fails with ALREADY_IN_MESH; a mesh of only me is put aside, and said so.",
  },
  {
    id: "F2",
    source: "RULES F2",
    sentence: "A pasted string says what it is, is read in any case, and any damage is noticed.",
  },
  {
    id: "F3",
    source: "RULES F3",
    sentence: "The device speaks for its person and the bound key for the agent, neither for the other.",
  },
  {
    id: "transport-invocation",
    source: "issue 3 part 5",
    sentence: "An invocation goes over TCP, over WebSocket and over WebRTC-direct.",
  },
  {
    id: "encrypter-order",
    source: "issue 3 part 5",
    sentence: "The dialler's order of encrypters decides, and a pinned one is kept.",
  },
  {
    id: "one-stream",
    source: "issue 3 part 5",
    sentence: "All calls between two peers share one stream, and frames of one tick leave in one send.",
  },
  {
    id: "back-pressure",
    source: "issue 3 part 5",
    sentence: "A slow reader stops only its own call, and nobody keeps more for it than the window.",
  },
  {
    id: "reconnect-backoff",
    source: "issue 3 part 5",
    sentence: "A lost member is dialled again, later each time and never in step with others.",
  },
  {
    id: "hello-proof",
    source: "issue 3 part 5",
    sentence: "hello proves the device at the other end and its membership, with a fresh challenge.",
  },
  {
    id: "clock-skew",
    source: "issue 3 part 10",
    sentence:
      "Clocks that are 2 minutes apart are a warning on both sides, 5 minutes end live calls and name whose clock and by how much.",
  },
  {
    id: "discovery-dht",
    source: "issue 3 part 6",
    sentence:
      "An agent is found over the DHT alone, without a connection or an event of its device before; with the DHT off it is not.",
  },
  {
    id: "discovery-mdns",
    source: "issue 3 part 6",
    sentence: "Two machines on one cable without any route find each other by mDNS, dial and speak.",
  },
  {
    id: "discovery-log",
    source: "issue 3 part 6",
    sentence: "Cards that came as events are found with the network down.",
  },
  {
    id: "cards-signed",
    source: "issue 3 part 6",
    sentence: "A card counts only if its device signed it and is a member's; the newest of a slot counts.",
  },
  {
    id: "invoke-stream",
    source: "issue 3 part 7",
    sentence: "A call streams accepted, progress and its result or a typed failure, each signed by who was asked.",
  },
  { id: "cancel-signal", source: "issue 3 part 7", sentence: "The caller's cancel reaches the tool's signal." },
  {
    id: "deadline-kept",
    source: "issue 3 part 7",
    sentence:
      "A tool that hangs past the deadline is left at it, its signal fires, and the call ends with DEADLINE_EXCEEDED.",
  },
  {
    id: "budget-depth",
    source: "issue 3 part 7",
    sentence:
      "A delegated request carries one link more, one delegation less and the time that is left; too deep ones are refused by the callee.",
  },
  {
    id: "resume-cut",
    source: "issue 3 part 7",
    sentence: "A call whose connection is cut mid-stream goes on from progress n and runs once.",
  },
  {
    id: "default-deny",
    source: "issue 3 part 7",
    sentence:
      "Nobody may call what no share and no definition allows him; absent and forbidden look the same to others.",
  },
  { id: "P1", source: "ATTACKS P1", sentence: "An acknowledged event survives kill -9 at any moment." },
  {
    id: "P2",
    source: "ATTACKS P2",
    sentence: "An acknowledged event survives a power cut: it was synced before it was acknowledged.",
  },
  {
    id: "P17",
    source: "ATTACKS P17",
    sentence:
      "A disk that is full, read-only or failing loses nothing acknowledged, is said, and is gone on with when it is well.",
  },
  {
    id: "P18",
    source: "ATTACKS P18",
    sentence:
      "Damage of log.db and of its write-ahead log is noticed, or has no effect: nothing is read wrong without a word.",
  },
  {
    id: "P4",
    source: "ATTACKS P4",
    sentence: "Processes that were cut from each other while all wrote are equal soon after, byte for byte at the end.",
  },
  {
    id: "P19",
    source: "ATTACKS P19",
    sentence:
      "A data folder that is put back from a copy gets its own later history from others, forks nothing and loses nothing.",
  },
  {
    id: "damaged-log",
    source: "ATTACKS P18",
    sentence:
      "A log.db that can't be opened is said with the way out: put aside, what can be read saved, the rest from others.",
  },
  {
    id: "damaged-blob",
    source: "ATTACKS P18",
    sentence: "A damaged attachment is never read: it is put aside, and right bytes take its place.",
  },
  {
    id: "store-port",
    source: "issue 3 part 8",
    sentence: "The libSQL store and the memory store keep the same promises.",
  },
  {
    id: "group-commit",
    source: "issue 3 part 8",
    sentence: "What is asked for during one flush is the next transaction.",
  },
  {
    id: "reconcile-exact",
    source: "issue 3 part 8",
    sentence: "What two sides want of each other by their vectors is exactly what makes them equal, in one round.",
  },
  {
    id: "P3",
    source: "ATTACKS P3",
    sentence: "Replicas that wrote apart become equal, wherever their syncs were cut.",
  },
  {
    id: "view-folds",
    source: "issue 3 part 8",
    sentence: "A view folds each event once, and again from the start when some count no longer.",
  },
  {
    id: "offline-ask",
    source: "issue 3 part 8",
    sentence:
      "An ask to somebody offline waits as an event, is run when he returns, at most once, and the answer comes back.",
  },
  { id: "outbox-drop", source: "issue 3 part 8", sentence: "What is taken back before it started is not run." },
  {
    id: "agent-md",
    source: "issue 3 part 9",
    sentence: "An AGENT.md folder is an agent with steps; what is wrong in it is said with file, line and column.",
  },
  {
    id: "reviewer-order",
    source: "issue 3 part 9",
    sentence: "The reviewer tells what changed and what stands out in order, each with file and line.",
  },
  {
    id: "librarian-follows",
    source: "issue 3 part 9",
    sentence: "The librarian finds words in a share with file and line and follows what changes.",
  },
  {
    id: "guide-asks",
    source: "issue 3 part 9",
    sentence: "The guide names what the asker may ask, the best fit first, and nothing else.",
  },
  {
    id: "invite-exact",
    source: "issue 3 part 9",
    sentence: "What an invite says is exactly what is allowed then, and no more.",
  },
  {
    id: "share-needed",
    source: "issue 3 part 9",
    sentence: "With several shares the argument `share` is needed, and the error lists those of the asker.",
  },
  {
    id: "share-refused",
    source: "issue 3 part 9",
    sentence: "Sharing home, the root, or what holds the data folder is refused with the reason.",
  },
  {
    id: "mcp-64",
    source: "issue 3 part 9",
    sentence: "64 calls in flight from two callers through one stdio MCP server never see each other's answers.",
  },
  {
    id: "mcp-pins",
    source: "ATTACKS J3",
    sentence: "An MCP tool that says something else than when it was first seen is off until it is approved.",
  },
  {
    id: "tool-path",
    source: "issue 3 part 9",
    sentence:
      "Each tool call, refused ones too, has an audit record before and after; with side effects the first one is durable before it runs.",
  },
  {
    id: "socket-mine",
    source: "issue 3 part 10",
    sentence: "The control socket is for me alone, and a living node's is never replaced.",
  },
  {
    id: "F9",
    source: "RULES F9",
    sentence:
      "Output for programs is one object, {v, items}, or one object a line; errors are {v, error} with the exit code.",
  },
  {
    id: "exit-codes",
    source: "issue 3 part 10",
    sentence: "Exit codes: 0 ok, 1 failed, 2 usage, 3 not running, 4 denied, 5 queued, 6 timed out.",
  },
  {
    id: "did-you-mean",
    source: "issue 3 part 10",
    sentence: "A mistyped word is answered with the one that was meant.",
  },
  {
    id: "no-stack",
    source: "issue 3 part 10",
    sentence: "Errors say what, why and what to do, without a stack trace unless --debug.",
  },
  {
    id: "config-errors",
    source: "issue 3 part 10",
    sentence: "Unknown config keys and wrong values are errors with line and column.",
  },
  {
    id: "set-keeps",
    source: "issue 3 part 10",
    sentence: "`kin set` keeps the comments, and a bad value never reaches the file.",
  },
  { id: "up-idempotent", source: "issue 3 part 10", sentence: "`kin up` is idempotent and never resets anything." },
  {
    id: "bin-any-node",
    source: "issue 3",
    sentence:
      "`npx kin` in a clone runs on any Node ≥ 18: it hands over to the bundled Node, or says `run npm ci first`.",
  },
  {
    id: "hints-anywhere",
    source: "issue 3",
    sentence: "A hint printed in a clone is a command that works from any folder.",
  },
  {
    id: "terminal-safe",
    source: "issue 3 part 10",
    sentence: "No control character or direction mark of remote text reaches the terminal.",
  },
  {
    id: "F6",
    source: "RULES F6",
    sentence: "Attachments are verified against their hash, in chunks, and served only to whom they were addressed.",
  },
  {
    id: "P6",
    source: "ATTACKS P6",
    sentence: "Garbage of four kinds, 20,000 frames a handler, never crashes a node, and calls of others go on.",
  },
  {
    id: "full-disk",
    source: "issue 3",
    sentence: "A full disk at start is DISK_FULL by the file's name, and the keys of before stay.",
  },
  {
    id: "key-file",
    source: "issue 3",
    sentence: "An unreadable, cut off or missing key file is said and never overwritten.",
  },
  { id: "port-taken", source: "issue 3", sentence: "A taken port is named." },
  {
    id: "socket-path",
    source: "issue 3",
    sentence: "A socket path that is too long gets a short one in a folder that is mine alone.",
  },
  {
    id: "wrong-mesh",
    source: "issue 3",
    sentence: "Who is in another mesh, or has a ticket of one, is told so and gets nothing.",
  },
  {
    id: "silent-peer",
    source: "issue 3",
    sentence: "Both sides of a join stop when their time is over while the other is silent.",
  },
  {
    id: "docs-links",
    source: "issue 3 part 12",
    sentence:
      "Every link in the README and the docs leads somewhere, and the house of the docs is the house that stands.",
  },
  {
    id: "readme-transcript",
    source: "issue 3",
    sentence: "Every command of the README's transcript runs, and a guest needs two until the first agent answers.",
  },
  {
    id: "L3",
    source: "ATTACKS L3",
    sentence: "A ticket that says another role than its invite is noticed by the guest.",
  },
  {
    id: "share-widened",
    source: "README",
    sentence: "Inviting or adding somebody for a folder that is shared already lets him in, too; nobody is put out.",
  },
  {
    id: "share-links",
    source: "issue 3 part 9",
    sentence:
      "Links that lead out of a share, links that are swapped in meanwhile, and files with a second name are not served.",
  },
  {
    id: "F12",
    source: "ATTACKS F12",
    sentence: "A FIFO, a socket or a device in a share is refused and holds nobody.",
  },
  {
    id: "F16",
    source: "ATTACKS F16",
    sentence:
      "Nothing that a repository configures runs: external diff, textconv, hooks, fsmonitor, pager, and no environment passes.",
  },
  {
    id: "roster-load",
    source: "RULES R15",
    sentence: "A stored roster record that is not what was signed is named at the start, never folded around.",
  },
  {
    id: "keys-rotate",
    source: "RULES R1, R7, R17",
    sentence:
      "A new sealing key comes with a new epoch and leaves what is under way readable; a new key of an agent ends the old one; an admin stays the same person under a new key; what cannot be rotated from here is said in words.",
  },
  {
    id: "leave",
    source: "RULES R3",
    sentence:
      "Who leaves a mesh says it himself: those who are there know it before his folder is set aside, nothing that was for the whole mesh is offered to the next, and nobody leaves unheard unless he says so.",
  },
  { id: "bad-peer", source: "issue 3", sentence: "One bad peer or one faulty handler never stops the others." },
  {
    id: "lan-without-internet",
    source: "issue 3",
    sentence:
      "Two machines on one cable without any route out join, ask, and find each other again at another address.",
  },
  {
    id: "values-kept",
    source: "issue 4 part 6",
    sentence:
      "A number that is typed as a fact, a setting or an argument stays that number, is kept as text, or is refused by name.",
  },
  {
    id: "piped-input",
    source: "issue 3",
    sentence: "What is piped into an ask goes along, and a pipe that nobody closes does not hang the question.",
  },
  {
    id: "piped-hint",
    source: "issue 3",
    sentence: "What is piped in and is too long is refused with what that command can do with it.",
  },
  { id: "streamed-once", source: "issue 3", sentence: "An answer streams, and each piece of it is printed once." },
  { id: "C1", source: "ATTACKS C1", sentence: "Two histories of one log are found, proved, frozen and told." },
  {
    id: "without-git",
    source: "issue 3",
    sentence: "Without git a share is served by its .gitignore alone, and what is missing is said.",
  },
  { id: "foreign-clone", source: "issue 3", sentence: "A clone that belongs to another user is read." },
  {
    id: "shallow-clone",
    source: "issue 3",
    sentence: "In a shallow clone the reviewer says that the change can't be told and shows the files as they stand.",
  },
  { id: "F27", source: "ATTACKS F27", sentence: "An answer is cut to what fits into an envelope, and says so." },
  {
    id: "step-rights",
    source: "issue 3 part 9",
    sentence: "A step of an agent has the rights of who asks, never more.",
  },
  { id: "J17", source: "ATTACKS J17", sentence: "Arguments are recorded by their hash only." },
  { id: "B19", source: "ATTACKS B19", sentence: "A name twice in a JSON object is refused." },
  {
    id: "vectors",
    source: "issue 3 part 11",
    sentence: "The test vectors are what our code makes and reads, and the protocol page names every one of them.",
  },
  {
    id: "killed-callee-durable",
    source: "issue 3 part 8",
    sentence: "A queued call whose callee is killed while it runs is answered OUTCOME_UNKNOWN, never run again.",
  },
  {
    id: "hanging-tool",
    source: "issue 3",
    sentence: "A tool that hangs past the deadline ends as DEADLINE_EXCEEDED, and the node goes on.",
  },
  {
    id: "cut-mid-stream",
    source: "issue 3 part 7",
    sentence: "A connection that is cut in the middle of an answer: the answer arrives complete, the tool ran once.",
  },
  {
    id: "prune-headers",
    source: "RULES R16, R9",
    sentence: "Pruning drops bodies, never headers: places, heads and proofs stay, and a dropped body is no damage.",
  },
  {
    id: "facts-converge",
    source: "issue 4 part 6",
    sentence: "Facts fold to the same bytes in any order, with repetitions, and from a saved state.",
  },
  {
    id: "facts-concurrent",
    source: "DESIGN §7",
    sentence:
      "Values that were set without knowledge of each other stand side by side with who and when, until a set that saw them all.",
  },
  {
    id: "C25",
    source: "ATTACKS C25",
    sentence: "An old replica that brings its sets back resurrects nothing that was unset or replaced.",
  },
  {
    id: "facts-removed",
    source: "RULES R5",
    sentence:
      "What a removed member wrote after his cut has no effect on facts, and what it had replaced stands again.",
  },
  {
    id: "R16",
    source: "RULES R16",
    sentence:
      "A snapshot counts for a newcomer only when two persons besides him have recomputed and signed it, or the only other has.",
  },
  {
    id: "C23",
    source: "ATTACKS C23",
    sentence: "A proposal whose state is not what its events fold to gets no second signature and is named.",
  },
  {
    id: "snapshot-revocation",
    source: "ATTACKS C24",
    sentence:
      "A snapshot that reaches past a removal's cut is signed by nobody who knows of it, named, and taken in by nobody.",
  },
  {
    id: "no-resurrection",
    source: "ATTACKS C25",
    sentence: "What was deleted and pruned is brought back by no old replica.",
  },
  {
    id: "lying-provider",
    source: "issue 4 part 7",
    sentence: "A state that is not the signed one is taken in from nobody; the next one is asked.",
  },
  {
    id: "prune-acknowledged",
    source: "RULES R16",
    sentence: "Pruning waits for every member's devices but those of whom an admin says that they are dormant.",
  },
  {
    id: "prune-crash",
    source: "DESIGN §7",
    sentence: "A crash at any write of a pruning loses nothing: the state is durable before the first body goes.",
  },
  {
    id: "prune-restart",
    source: "issue 4 part 7",
    sentence: "After pruning, a restart and a fresh fold give the same views.",
  },
  {
    id: "catch-up",
    source: "issue 4 part 7",
    sentence:
      "A member who was away catches up by headers, a snapshot and the tail, and what he wrote meanwhile counts.",
  },
  {
    id: "snapshot-pure",
    source: "RULES R16",
    sentence: "Whoever folds the events of one vector gets the same state, and a base with the rest is the whole.",
  },
  {
    id: "snapshot-canonical",
    source: "RULES R16",
    sentence: "A state has one form of bytes, whatever the order of views and rows.",
  },
  {
    id: "snapshot-rate",
    source: "issue 4 part 7",
    sentence: "Proposals of one person cost the others one folding a minute.",
  },
  {
    id: "snapshot-fork",
    source: "RULES R2, R16",
    sentence:
      "After a device has written twice, even from before a snapshot, snapshots go on and what others had built on stays.",
  },
  {
    id: "C16",
    source: "ATTACKS C16",
    sentence: "An edit that writes as another client than its author's log does is refused by everybody.",
  },
  {
    id: "C17",
    source: "ATTACKS C17",
    sentence: "Of two edits under one client and clock the first in the log counts, on every node.",
  },
  {
    id: "C18",
    source: "ATTACKS C18",
    sentence: "An edit that waits for what never comes has no effect and stops nobody but its author.",
  },
  {
    id: "C19",
    source: "ATTACKS C19",
    sentence: "An edit counts as a whole or not at all, and only if an honest author could have made it.",
  },
  {
    id: "C20",
    source: "ATTACKS C20",
    sentence: "A change of a record is never unpacked and bounded before it is read.",
  },
  {
    id: "C21",
    source: "ATTACKS C21",
    sentence: "Of two changes with one seq the first in the log counts, on every node.",
  },
  { id: "C22", source: "ATTACKS C22", sentence: "What Automerge once crashed on never reaches it." },
  {
    id: "group-C",
    source: "ATTACKS group C",
    sentence: "Every case of attack group C that is about documents is a test.",
  },
  {
    id: "notes-converge",
    source: "DESIGN §7",
    sentence:
      "Honest edits of a note are right on every copy, in any order that keeps causes first, to the same bytes.",
  },
  {
    id: "notes-merge",
    source: "issue 4",
    sentence: "Two who edit a note apart keep each other's words, and both see who edited.",
  },
  {
    id: "notes-editor",
    source: "issue 4 part 6",
    sentence: "An editor that was open while others wrote changes only what its user changed.",
  },
  {
    id: "editor-keeps",
    source: "issue 4 part 6",
    sentence: "What was written in an editor and could not be saved stays in its file, and the error says where.",
  },
  {
    id: "notes-named",
    source: "issue 4 part 6",
    sentence: "A note is found by its id or its title, also where the title looks like an id.",
  },
  {
    id: "notes-private",
    source: "issue 4 part 6",
    sentence: "A private note is read by its people only, also by who is let in later, with what was written before.",
  },
  {
    id: "board-order",
    source: "issue 4",
    sentence: "Between any two cards of a column there is room for another, without a change of theirs.",
  },
  {
    id: "board-move",
    source: "issue 4",
    sentence: "A card that two move at once stands in one column, in the same on every node, with its words.",
  },
  {
    id: "board-edit",
    source: "issue 4",
    sentence: "Of a card that is edited by two at once, or edited and moved, both stay.",
  },
  {
    id: "board-remove",
    source: "issue 4, DESIGN §1",
    sentence:
      "Who removes a card takes nothing away that he has not seen: what is done to it meanwhile brings it back whole.",
  },
  {
    id: "board-columns",
    source: "issue 4",
    sentence: "Columns that two add at once are both there, and one in which a card stands is always shown.",
  },
  {
    id: "board-converge",
    source: "DESIGN §7",
    sentence:
      "Acts on a board are right on every copy, in any order that keeps causes first, to the same bytes; no card is there twice.",
  },
  {
    id: "board-bytes",
    source: "issue 4 part 6, ATTACKS C19",
    sentence:
      "Whatever bytes come as an edit of a board are refused with a word, or tried on a copy: nothing is thrown half way.",
  },
  {
    id: "board-apart",
    source: "issue 4",
    sentence:
      "What two did to a board while they were apart is on both when they meet, nothing lost and nothing twice.",
  },
  {
    id: "documents-refused",
    source: "DESIGN §1 rank 4",
    sentence:
      "Who looks at a note or board is told which edits have no effect, and kin sync why says why, also after a restart.",
  },
  {
    id: "board-replicas",
    source: "issue 4 part 6",
    sentence:
      "Replicas that changed boards apart, over restarts, are the same bytes when they met, and refuse nothing of each other.",
  },
  {
    id: "board-private",
    source: "issue 4 part 6",
    sentence: "A private board is read by its people only, also by who is let in later and by their new machines.",
  },
  {
    id: "board-kept",
    source: "issue 4 part 6, DESIGN P28",
    sentence: "A start goes on with boards from what is kept, and folds the log again where an older kin kept it.",
  },
  {
    id: "board-tools",
    source: "issue 4",
    sentence: "An agent's steps show boards to who may read them, and change them for the node's owner only.",
  },
  {
    id: "notes-removed",
    source: "RULES R5",
    sentence: "What a removed member wrote into a note after his cut has no effect, also on who had seen it.",
  },
  {
    id: "words-anew",
    source: "RULES R5",
    sentence:
      "What a member made of a document beside words that a removal cut off is said anew by his device, once, where it stood.",
  },
  {
    id: "words-clash",
    source: "RULES R2",
    sentence:
      "What a device wrote into a document in two histories is there from both: what clashes is said again as of somebody else.",
  },
  {
    id: "note-many-places",
    source: "issue 4 part 6",
    sentence: "A text that is changed in many places at once is few updates, found in one pass over the note.",
  },
  {
    id: "facts-history-pruned",
    source: "issue 4 part 7",
    sentence: "The history of a fact says what stands and how many older values are gone, also once bodies are pruned.",
  },
  {
    id: "made-up-share",
    source: "RULES R16, DESIGN §7",
    sentence:
      "Who was never given a private note gets nothing of it by a share that he makes up, and takes nothing from its people.",
  },
  {
    id: "small-heap",
    source: "ATTACKS P5",
    sentence: "A node that takes in 100,000 events stays below 400 MB: `kin up` starts Node with small heaps.",
  },
  {
    id: "documents-converge",
    source: "issue 4 part 6",
    sentence: "Notes, facts and records that were written apart are the same bytes wherever the same events are.",
  },
  {
    id: "document-state",
    source: "RULES R16, DESIGN §7",
    sentence:
      "The state of a note or board has one form, whoever applied its updates in whatever order; another is refused before Yjs sees it.",
  },
  {
    id: "snapshot-notes",
    source: "RULES R16, DESIGN §7",
    sentence:
      "Who was away or is new gets notes, boards and settings from a snapshot, and writes on as who folded every edit.",
  },
  {
    id: "snapshot-sealed",
    source: "RULES R16",
    sentence: "The edits of private notes are in no snapshot: their bodies stay, and reach who may read them.",
  },
  {
    id: "snapshot-waits",
    source: "RULES R16",
    sentence: "An edit that waits is in no snapshot: its body stays, and it counts when what it waits for comes.",
  },
  {
    id: "snapshot-late",
    source: "RULES R16",
    sentence: "A document of which a late edit comes begins anew with what a snapshot stands for, not with nothing.",
  },
  {
    id: "snapshot-lies",
    source: "RULES R16, ATTACKS C23",
    sentence:
      "A state with a bent text, a made-up editor or opener gets no second signature; one that no edits lead to is not taken in.",
  },
  {
    id: "snapshot-mixed",
    source: "RULES R16, HOUSE",
    sentence:
      "A mesh of old and new kins goes on: no kin signs what it can't fold, and what stands for notes gives way to nothing less.",
  },
  {
    id: "documents-twice",
    source: "RULES R2, DESIGN §1",
    sentence:
      "What a restored device wrote into a document without what others had built on takes nothing of that away, at any node.",
  },
  {
    id: "snapshot-lost",
    source: "RULES R16, DESIGN §7",
    sentence: "A snapshot's state that is damaged on the disk is fetched again from peers.",
  },
  {
    id: "trial-limit",
    source: "issue 4 part 6",
    sentence:
      "A foreign update is tried on a copy in a thread of its own; one that takes too long is ended and keeps nothing waiting.",
  },
  {
    id: "trial-held",
    source: "issue 4 part 6",
    sentence:
      "An update that a machine could not try is refused by nobody: it waits there, and counts when it could be tried.",
  },
  {
    id: "late-edits",
    source: "issue 4 part 6",
    sentence: "Which edits count follows from the set of events, in whatever order their bodies come.",
  },
  {
    id: "records-bytes",
    source: "issue 4 part 6",
    sentence: "A change of a record reads as Automerge itself reads it; one with a flipped byte is refused.",
  },
  {
    id: "records-converge",
    source: "issue 4 part 6",
    sentence: "Changes of a record are the same record in any order of logs, with all values where they were apart.",
  },
  {
    id: "documents-offline",
    source: "issue 4",
    sentence:
      "Notes and facts that two wrote while the other was off are merged on both when they meet, also without the views.",
  },
  {
    id: "documents-kept",
    source: "issue 4 part 6",
    sentence:
      "What documents keep over a restart is what the log folds to; it is used once, and never after something was judged anew.",
  },
  {
    id: "document-tools",
    source: "issue 4 part 6",
    sentence: "An agent's steps read the documents that who asks may read, and write only for the node's owner.",
  },
  {
    id: "documents-again",
    source: "RULES R13",
    sentence:
      "What was written into documents while a clock was ahead counts when its log's owner says it again, in its first place.",
  },
  {
    id: "stopped-callee",
    source: "RULES R8",
    sentence: "A call that its node stops in the middle of is recorded as unknown: it may have had its effect.",
  },
  {
    id: "simulator-seed",
    source: "issue 4 part 8",
    sentence: "The same seed plays the same events, in any process: the same traceHash.",
  },
  {
    id: "simulator-run",
    source: "issue 4 part 8",
    sentence: "The simulator lists its scenarios and says what is wrong with what it was asked for.",
  },
  {
    id: "simulator-scenarios",
    source: "issue 4 part 8",
    sentence:
      "Under every fault of the scenarios: equal after each heal, nothing acknowledged lost, nothing twice, nothing without a right.",
  },
  {
    id: "simulator-documents",
    source: "issue 4 part 8",
    sentence:
      "After each heal facts, notes, boards, settings and cards read alike on every node, pruned or not, and each word of an acknowledged edit stands in its note once.",
  },
  {
    id: "simulator-boards",
    source: "issue 4 part 8",
    sentence:
      "After each heal a card stands on its board once, with what members wrote on it and whose they made it, unless somebody removed it who had seen all of that.",
  },
  {
    id: "simulator-plants",
    source: "issue 4 part 8",
    sentence: "The simulator finds five planted bugs.",
  },
  {
    id: "notes-machines",
    source: "issue 4 part 6",
    sentence: "A new machine of somebody reads his private notes, what was written before it too.",
  },
  {
    id: "opened-when-asked",
    source: "issue 4 figures",
    sentence:
      "A body is opened when somebody asks what it says; one that does not open then stops nothing and is shown as damaged.",
  },
  {
    id: "ids-in-blocks",
    source: "issue 4 figures",
    sentence:
      "An event is found by its id whether the index has it already or not, over restarts, failures and repairs, and in a file of an older format.",
  },
];
