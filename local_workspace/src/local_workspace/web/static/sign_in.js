// What stands behind the # of the page that one wanted never reaches the server.
const next = document.querySelector("input[name=next]");
if (!next.value.includes("#")) next.value += location.hash;
