// What stands behind the # in addresses of older pages never reaches the server: it leads on from here.
const MOVED = [
  [/^#\/(.*)/, (_, rest) => `/mlflow#/${rest}`],
  [/^#mlflow\/(.*)/, (_, rest) => `/mlflow#/${rest}`],
  [/^#job\/(\d+)\/run\/(\d+)/, (_, job, run) => `/jobs/${job}/runs/${run}`],
  [/^#job\/(\d+)/, (_, job) => `/jobs/${job}`],
  [/^#job\b/, () => "/jobs"],
  [/^#notebook\/(\d+)/, (_, id) => `/editor/notebooks/${id}`],
  [/^#(?:setting\/clusters|sql\/warehouses|compute)\b/, () => "/clusters"],
  [/^#workspace(\/.*)?/, (_, path = "") => `/workspace${path}`],
];
for (const [address, leadsTo] of MOVED) {
  const found = location.hash.match(address);
  if (found) {
    location.replace(leadsTo(...found));
    break;
  }
}
