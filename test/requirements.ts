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
  { id: "K3", source: "ATTACKS K3", sentence: "A full disk fails the append by name and keeps what was acknowledged." },
  { id: "K6", source: "ATTACKS K6", sentence: "A damaged row is an error that names it, never a wrong answer." },
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
];
